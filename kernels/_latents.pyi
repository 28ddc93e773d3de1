import numpy as np
from numpy.typing import NDArray

def choose(
    target: NDArray[np.float32],
    means: NDArray[np.float32],
    indices: NDArray[np.uint8],
    symbols: NDArray[np.int16],
) -> None: ...
def take(
    symbols: NDArray[np.int16],
    means: NDArray[np.float32],
    spread: NDArray[np.float32],
    table: NDArray[np.int8],
    all_symbols: NDArray[np.int16],
    magnitudes: NDArray[np.int8],
    latents: NDArray[np.float32],
    known: NDArray[np.float32],
) -> None: ...
