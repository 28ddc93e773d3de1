import numpy as np
from numpy.typing import NDArray

def instruction_sets() -> list[str]: ...

class Model:
    def __init__(
        self,
        means: NDArray[np.int16],
        means_across: NDArray[np.int16],
        scales: NDArray[np.int16],
        differences: NDArray[np.int16],
        scales_across: NDArray[np.int16],
        least: int,
        most: int,
        first_index: int,
        precision: int,
        fewest_bits: float,
        offsets: NDArray[np.int32],
        row_starts: NDArray[np.int32],
        cumulative: NDArray[np.uint16],
    ) -> None: ...
    def decode(
        self,
        streams: list[NDArray[np.uint8]],
        own: NDArray[np.int32],
        neighbours: NDArray[np.int32],
        counts: NDArray[np.int32],
        start: NDArray[np.int32],
        latents: NDArray[np.int16],
        threads: int,
        instruction_set: str,
    ) -> list[int]: ...
    def prepare(
        self,
        latents: NDArray[np.int16],
        own: NDArray[np.int32],
        neighbours: NDArray[np.int32],
        counts: NDArray[np.int32],
        start: NDArray[np.int32],
        symbols: NDArray[np.int16],
        rows: NDArray[np.uint16],
    ) -> bool: ...
