"""Which channels of a sound are coded together: pairs of loudspeakers as stereo, the others one by one."""

from collections.abc import Sequence

PAIR, SINGLE = 2, 1
# Channels -> sizes of groups, in the order of WAV and FLAC; docs/FORMAT.md has the same table
_GROUPS = {
    3: (PAIR, SINGLE),  # front left and right, centre
    5: (PAIR, SINGLE, PAIR),  # front, centre, back
    6: (PAIR, SINGLE, SINGLE, PAIR),  # 5.1: front, centre, low frequencies, back
    7: (PAIR, SINGLE, SINGLE, SINGLE, PAIR),  # 6.1: front, centre, low frequencies, back centre, sides
    8: (PAIR, SINGLE, SINGLE, PAIR, PAIR),  # 7.1: front, centre, low frequencies, back, sides
}


def groups_of(channels: int) -> Sequence[slice]:
    """The channels of each group, in order; groups have one channel or two."""
    sizes = _GROUPS.get(channels, (PAIR,) * (channels // 2) + (SINGLE,) * (channels % 2))
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
