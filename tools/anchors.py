"""The codecs that everybody has, by Pillow: what rarefy is compared with, as real files in memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Anchor:
    """A format of Pillow: the settings that span its range of quality, and how one setting is asked for."""

    name: str
    format: str
    settings: tuple[int, ...]
    options: Callable[[int, int], Mapping[str, object]]
    describe: str

    def encode(self, pixels: Pixels, quality: int, threads: int) -> bytes:
        """Return the file of a picture, uint8 [H, W, 3]."""
        file = BytesIO()
        Image.fromarray(pixels).save(file, self.format, **self.options(quality, threads))
        return file.getvalue()

    def decode(self, data: bytes) -> Pixels:
        """Return the picture of a file, uint8 [H, W, 3]."""
        return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


ANCHORS = {
    anchor.name: anchor
    for anchor in (
        Anchor(
            "jpeg",
            "JPEG",
            (10, 25, 40, 55, 70, 85, 95),
            lambda quality, threads: {"quality": quality, "optimize": True},
            "4:2:0, optimised Huffman tables",
        ),
        Anchor(
            "webp",
            "WEBP",
            (5, 20, 40, 60, 75, 85, 92),
            lambda quality, threads: {"quality": quality, "method": 6},
            "lossy, method 6",
        ),
        Anchor(
            "avif",
            "AVIF",
            (10, 25, 38, 50, 60, 70, 80),
            lambda quality, threads: {"quality": quality, "subsampling": "4:4:4", "speed": 4, "max_threads": threads},
            "4:4:4, speed 4",
        ),
    )
}


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries behind the anchors."""
    libraries = {"jpeg": features.version_feature("libjpeg_turbo"), "webp": features.version_module("webp")}
    libraries["avif"] = features.version_module("avif")
    return {name: version or "unknown" for name, version in libraries.items()}
