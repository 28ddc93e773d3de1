"""What a decoder is willing to spend on a file that it does not trust.

Headers claim sizes before anything proves them. Each claim is checked here before memory is taken for it.
"""

from dataclasses import dataclass, fields

from rarefy.errors import LimitError


@dataclass(frozen=True)
class Limits:
    """The largest sizes that are accepted; None lifts a limit.

    pixels: width x height of a picture. side: width or height, in pixels. symbols: coded numbers in one unit.
    metadata_bytes: size of one section of metadata (a colour profile, EXIF, XMP).
    seconds, channels, sample_rate: of a sound. samples: numbers of a sound, over all channels, in memory at once.
    units: into which a picture is cut; each costs some milliseconds, however small it is.
    """

    pixels: int | None = 1 << 28
    side: int | None = 65_535
    symbols: int | None = 1 << 23
    metadata_bytes: int | None = 1 << 24
    seconds: int | None = 86_400  # a day
    channels: int | None = 64  # of seventh-order ambisonics
    sample_rate: int | None = 768_000
    samples: int | None = 1 << 30  # 4 GiB: three hours of stereo at 48 kHz; longer sounds are read in blocks
    units: int | None = 1 << 15  # more than the largest picture has in squares of 128 pixels

    @classmethod
    def none(cls) -> "Limits":
        """Accept any size: for files from a source that one trusts."""
        return cls(**{limit.name: None for limit in fields(cls)})

    def check_picture(self, width: int, height: int) -> None:
        """Raise LimitError if a picture of width x height pixels is too large."""
        picture = f"a picture of {width} x {height} pixels"
        self._check(max(width, height), self.side, "side", f"{picture} has a longer side")
        self._check(width * height, self.pixels, "pixels", f"{picture} has more pixels")

    def check_units(self, count: int) -> None:
        """Raise LimitError if a picture is cut into too many units."""
        self._check(count, self.units, "units", f"a picture in {count} units has more units")

    def check_symbols(self, count: int, where: str) -> None:
        """Raise LimitError if `where` ("unit 3") holds too many symbols."""
        self._check(count, self.symbols, "symbols", f"{where} holds {count} symbols, which is more")

    def check_metadata(self, size: int, name: str) -> None:
        """Raise LimitError if the section of metadata `name` is too large; size in bytes."""
        self._check(size, self.metadata_bytes, "metadata_bytes", f'metadata "{name}" has {size} bytes, which is more')

    def check_sound(self, sample_rate: int, channels: int, length: int) -> None:
        """Raise LimitError if a sound is too long or has too many channels; length in samples per channel."""
        self._check(channels, self.channels, "channels", f"a sound of {channels} channels has more channels")
        self._check(
            sample_rate, self.sample_rate, "sample_rate", f"a sound at {sample_rate} Hz has a higher sample rate"
        )
        seconds = -(-length // max(sample_rate, 1))
        self._check(seconds, self.seconds, "seconds", f"a sound of {seconds} seconds is longer")

    def check_samples(self, count: int) -> None:
        """Raise LimitError if `count` samples, over all channels, are too many to hold in memory at once."""
        self._check(count, self.samples, "samples", f"a sound of {count} samples in memory at once has more")

    def _check(self, value: int, limit: int | None, name: str, claim: str) -> None:
        if limit is not None and value > limit:
            raise LimitError(f"{claim} than the limit of {limit}: {self._remedy(name)}")

    def _remedy(self, name: str) -> str:
        return f"raise it with Limits({name}=...) if you trust the source"


class FileLimits(Limits):
    """What a file may have: no more than every reader takes that was told nothing."""

    def _remedy(self, name: str) -> str:
        return "files have no more, so that every reader takes them"
