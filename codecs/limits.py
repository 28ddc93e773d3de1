"""What a decoder is willing to spend on a file that it does not trust.

Headers claim sizes before anything proves them. Each claim is checked here before memory is taken for it.
"""

from dataclasses import dataclass, replace

from rarefy.errors import LimitError


@dataclass(frozen=True)
class Limits:
    """The largest sizes that are accepted; None lifts a limit.

    pixels: width x height of a picture. side: width or height, in pixels. symbols: coded numbers in one unit.
    metadata_bytes: size of one section of metadata (a colour profile, EXIF, XMP).
    """

    pixels: int | None = 1 << 28
    side: int | None = 65_535
    symbols: int | None = 1 << 23
    metadata_bytes: int | None = 1 << 24

    @classmethod
    def none(cls) -> "Limits":
        """Accept any size: for files from a source that one trusts."""
        return replace(cls(), pixels=None, side=None, symbols=None, metadata_bytes=None)

    def check_picture(self, width: int, height: int) -> None:
        """Raise LimitError if a picture of width x height pixels is too large."""
        picture = f"a picture of {width} x {height} pixels"
        _check(max(width, height), self.side, "side", f"{picture} has a longer side")
        _check(width * height, self.pixels, "pixels", f"{picture} has more pixels")

    def check_symbols(self, count: int, where: str) -> None:
        """Raise LimitError if `where` ("unit 3") holds too many symbols."""
        _check(count, self.symbols, "symbols", f"{where} holds {count} symbols, which is more")

    def check_metadata(self, size: int, name: str) -> None:
        """Raise LimitError if the section of metadata `name` is too large; size in bytes."""
        _check(size, self.metadata_bytes, "metadata_bytes", f'metadata "{name}" has {size} bytes, which is more')


def _check(value: int, limit: int | None, name: str, claim: str) -> None:
    if limit is not None and value > limit:
        raise LimitError(f"{claim} than the limit of {limit}: raise it with Limits({name}=...) if you trust the source")
