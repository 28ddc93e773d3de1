from typing import Any

import numpy as np
from numpy.typing import NDArray

# Rows are uint8 or uint16, symbols int16 or int32: one contiguous dimension, NumPy arrays or torch tensors.

class Tables:
    def __init__(
        self,
        precision: int,
        fewest_bits: float,
        offsets: NDArray[np.int32],
        row_starts: NDArray[np.int32],
        cumulative: NDArray[np.uint16],
        expected_bits: NDArray[np.uint16],
    ) -> None: ...

class Decoder:
    status: int
    def __init__(self, data: NDArray[np.uint8], instruction_set: str) -> None: ...
    def admit(self, tables: Tables, rows: NDArray[Any]) -> int: ...
    def finish(self) -> int: ...

def instruction_sets() -> list[str]: ...
def decode(bursts: list[tuple[Decoder, Tables, NDArray[Any], NDArray[Any]]], threads: int) -> list[int]: ...
def expected_bits(messages: list[list[tuple[Tables, NDArray[Any], NDArray[Any]]]], threads: int) -> list[int]: ...
def encode(
    messages: list[list[tuple[Tables, NDArray[Any], NDArray[Any]]]],
    lanes: list[int],
    threads: int,
    instruction_set: str,
) -> list[bytes | int]: ...
