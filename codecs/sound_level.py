"""How loud a sound is, as its file holds it: what is coded has one spread, so that quiet sounds are not coarser.

The level is an integer, in steps of an eighth of a doubling: the coded samples are those of the sound times
2^(-level / 8), and decoding multiplies by the inverse. The loudness of a sound is what it was.
"""

import math

SPREAD = 0.1  # root of the mean square of what is coded
STEPS = 8  # of the level, to a doubling
LEVEL_MIN, LEVEL_MAX = -128, 127


def level_of(mean_square: float) -> int:
    """The level of samples with this mean square; silence has the lowest, so that it comes back below any step."""
    if not mean_square > 0:
        return LEVEL_MIN
    return min(LEVEL_MAX, max(LEVEL_MIN, round(STEPS * math.log2(math.sqrt(mean_square) / SPREAD))))


def gain_of(level: int) -> float:
    """What coded samples are multiplied by to have the loudness of the sound."""
    return float(2.0 ** (level / STEPS))
