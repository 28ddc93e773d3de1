import numpy as np
from numpy.typing import NDArray

class Layer:
    inputs: int
    outputs: int
    def with_bias(self, bias: NDArray[np.int32]) -> Layer: ...

def layer(
    instruction_set: str,
    weight: NDArray[np.int8],
    bias: NDArray[np.int32],
    shift: NDArray[np.uint8],
    low: int,
    high: int,
    is_unsigned: bool,
) -> Layer: ...
def dense(
    layers: list[tuple[Layer, NDArray[np.int8], NDArray[np.int8] | None, NDArray[np.int8] | None, NDArray[np.int8]]],
    threads: int,
) -> None: ...
def block(
    spatial: Layer,
    expand: Layer,
    reduce: Layer,
    x: NDArray[np.int8],
    out: NDArray[np.int8],
    threads: int,
) -> None: ...
def instruction_sets() -> list[str]: ...
