"""The codecs that everybody has, as real files in memory: what rarefy is compared with.

JPEG, WebP and AVIF by Pillow, JPEG XL by pillow-jxl-plugin, and single pictures of HEVC (x265) and AV1 (SVT-AV1) by
PyAV. The last two are bare streams, as FFmpeg writes them to `.hevc` and `.obu`: no container is counted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from rarefy.tools import anchors_video

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Anchor:
    """A format: the settings that span its range of quality, how one makes a file, and how a file is read.

    make: picture uint8 [H, W, 3], setting and threads to a file; read: a file to uint8 [H, W, 3]. settings: from the
    smallest file to the largest. module: what must be installed beside Pillow, and by which package.
    """

    name: str
    settings: tuple[int, ...]
    make: Callable[[Pixels, int, int], bytes] = field(repr=False)
    read: Callable[[bytes], Pixels] = field(repr=False)
    version: Callable[[], str | None] = field(repr=False)
    describe: str
    module: str = "PIL"
    package: str = "pillow"

    def encode(self, pixels: Pixels, quality: int, threads: int) -> bytes:
        """Return the file of a picture, uint8 [H, W, 3]."""
        return self.make(pixels, quality, threads)

    def decode(self, data: bytes) -> Pixels:
        """Return the picture of a file, uint8 [H, W, 3]."""
        return self.read(data)

    @property
    def lack(self) -> str:
        """Why it cannot be used on this machine; nothing where it can."""
        if find_spec(self.module) is None:
            return f"{self.package} is not installed"
        return "" if self.version() else f"{self.package} was built without it"


def _by_pillow(format: str, options: Callable[[int, int], Mapping[str, object]]) -> Callable[[Pixels, int, int], bytes]:
    def make(pixels: Pixels, quality: int, threads: int) -> bytes:
        file = BytesIO()
        Image.fromarray(pixels).save(file, format, **options(quality, threads))
        return file.getvalue()

    return make


def _avif_options(speed: int) -> Callable[[int, int], Mapping[str, object]]:
    def options(quality: int, threads: int) -> Mapping[str, object]:
        return {"quality": quality, "subsampling": "4:4:4", "speed": speed, "max_threads": threads}

    return options


def _read(data: bytes) -> Pixels:
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def _make_jxl(pixels: Pixels, quality: int, threads: int) -> bytes:
    import pillow_jxl  # noqa: F401  # registers the format

    make = _by_pillow("JXL", lambda quality, threads: {"quality": quality, "effort": 7, "num_threads": threads})
    return make(pixels, quality, threads)


def _read_jxl(data: bytes) -> Pixels:
    import pillow_jxl  # noqa: F401

    return _read(data)


def _package_version(package: str) -> Callable[[], str | None]:
    def version() -> str | None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version(package)
        except PackageNotFoundError:
            return None

    return version


ANCHORS = {
    anchor.name: anchor
    for anchor in (
        Anchor(
            "jpeg",
            (10, 25, 50, 75, 92),
            _by_pillow("JPEG", lambda quality, threads: {"quality": quality, "optimize": True}),
            _read,
            lambda: features.version_feature("libjpeg_turbo"),
            "quality, 4:2:0, optimised Huffman tables",
        ),
        Anchor(
            "webp",
            (5, 25, 50, 75, 92),
            _by_pillow("WEBP", lambda quality, threads: {"quality": quality, "method": 6}),
            _read,
            lambda: features.version_module("webp"),
            "quality, lossy, method 6",
        ),
        *(
            Anchor(
                name,
                (10, 30, 48, 64, 80),
                _by_pillow("AVIF", _avif_options(speed)),
                _read,
                lambda: features.version_module("avif"),
                f"quality, 4:4:4, speed {speed}",
            )
            for name, speed in (("avif", 4), ("avif-fast", 6))
        ),
        Anchor(
            "jxl",
            (5, 20, 45, 75, 93),
            _make_jxl,
            _read_jxl,
            _package_version("pillow-jxl-plugin"),
            "quality, effort 7",
            "pillow_jxl",
            "pillow-jxl-plugin",
        ),
        *(
            Anchor(
                name,
                codec.settings,
                codec.encode,
                codec.decode,
                lambda: anchors_video.version(),
                codec.describe,
                "av",
                "av",
            )
            for name, codec in anchors_video.CODECS.items()
        ),
    )
}


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries behind the anchors that are installed."""
    versions = {name: anchor.version() for name, anchor in ANCHORS.items() if not anchor.lack}
    return {name: version for name, version in versions.items() if version}
