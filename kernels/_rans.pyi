import numpy as np
from numpy.typing import NDArray

class Tables:
    def __init__(
        self,
        precision: int,
        fewest_bits: float,
        offsets: NDArray[np.int32],
        row_starts: NDArray[np.int32],
        cumulative: NDArray[np.uint16],
    ) -> None: ...

class Decoder:
    status: int
    def __init__(self, data: NDArray[np.uint8]) -> None: ...
    def admit(self, tables: Tables, rows: NDArray[np.uint16]) -> int: ...
    def decode(self, tables: Tables, rows: NDArray[np.uint16], symbols: NDArray[np.int16]) -> int: ...
    def finish(self) -> int: ...

def encode(tables: Tables, symbols: NDArray[np.int16], rows: NDArray[np.uint16], lanes: int) -> bytes | int: ...
