"""Recordings cut into pieces of equal length: how many there are, and the keys of their samples."""


def piece_length(sample_rate: int, seconds: float) -> int:
    """Samples per channel of a piece; at least one."""
    return max(round(seconds * sample_rate), 1)


def piece_count(length: int, sample_rate: int, seconds: float) -> int:
    """How many whole pieces there are in a recording of `length` samples; what remains at its end is in none."""
    return length // piece_length(sample_rate, seconds)


def piece_key(key: str, number: int) -> str:
    """The key of a piece, by the key of its recording: no two recordings have one in common."""
    return f"{key}-{number:06}"


def recording_key(key: str) -> str:
    """The key of the recording that a piece is of."""
    return key.rpartition("-")[0]
