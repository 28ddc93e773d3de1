import numpy as np
from numpy.typing import NDArray

class Model:
    def __init__(
        self,
        alphabet: int,
        member_bits: int,
        groups: int,
        classes: NDArray[np.uint8],
        contexts: NDArray[np.uint16],
        rows: NDArray[np.int16],
        counts: NDArray[np.uint32],
    ) -> None: ...

def decode(model: Model, data: NDArray[np.uint8], tokens: NDArray[np.uint16], grid_width: int) -> int: ...
def encode(model: Model, tokens: NDArray[np.uint16], grid_width: int) -> bytes: ...
