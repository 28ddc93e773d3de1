"""Single pictures by encoders of video, through PyAV: x265 and SVT-AV1 as intra codecs.

A file is the encoder's stream with its headers, without a container: the fairest thing that can be counted, since a
container of pictures would add some hundred bytes and FFmpeg reads the streams as they are. Pictures go to YCbCr
(BT.601, limited range, as FFmpeg does unasked) with 10 bits and back, by FFmpeg's scaler.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from rarefy.errors import FormatError, UnsupportedError

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class VideoCodec:
    """An encoder of FFmpeg and how it is asked for one picture; `stream` is FFmpeg's name of the bare format."""

    encoder: str
    stream: str
    pixel_format: str
    settings: tuple[int, ...]
    options: Callable[[int, int], Mapping[str, str]] = field(repr=False)
    describe: str

    def encode(self, pixels: Pixels, crf: int, threads: int) -> bytes:
        """Return the stream of a picture, uint8 [H, W, 3], at a constant rate factor (smaller is better)."""
        import av

        os.environ.setdefault("SVT_LOG", "1")  # errors alone; SVT-AV1 writes its settings to stderr else
        context = av.CodecContext.create(self.encoder, "w")
        if not isinstance(context, av.VideoCodecContext):
            raise UnsupportedError(f"{self.encoder} is no encoder of video in this build of FFmpeg")
        context.height, context.width = pixels.shape[:2]
        context.pix_fmt = self.pixel_format
        context.time_base, context.framerate = Fraction(1, 25), Fraction(25, 1)
        context.thread_count = threads
        context.options = dict(self.options(crf, threads))
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame = frame.reformat(format=self.pixel_format)
        packets = [*context.encode(frame), *context.encode(None)]
        return b"".join(bytes(packet) for packet in packets)

    def decode(self, data: bytes) -> Pixels:
        """Return the first picture of a stream, uint8 [H, W, 3]."""
        import av

        with av.open(BytesIO(data), "r", format=self.stream) as container:
            for frame in container.decode(video=0):
                return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        raise FormatError(f"the {self.stream} stream holds no picture")


def _x265(crf: int, threads: int) -> Mapping[str, str]:
    # `info=0` leaves out the text of settings that x265 writes into every stream, `tune psnr` what it does for the eye.
    parameters = f"keyint=1:info=0:log-level=none:pools={threads}:frame-threads=1"
    return {"preset": "slow", "tune": "psnr", "crf": str(crf), "x265-params": parameters}


def _svt_av1(crf: int, threads: int) -> Mapping[str, str]:
    return {"preset": "4", "crf": str(crf), "svtav1-params": f"avif=1:lp={threads}"}


CODECS = {
    "hevc": VideoCodec(
        "libx265", "hevc", "yuv444p10le", (44, 37, 31, 25, 19), _x265, "crf, x265 intra, 4:4:4 10 bits, slow, psnr"
    ),
    "av1": VideoCodec(
        "libsvtav1", "obu", "yuv420p10le", (58, 46, 36, 26, 14), _svt_av1, "crf, SVT-AV1 intra, 4:2:0 10 bits, preset 4"
    ),
}


def version() -> str | None:
    """Return the version of PyAV, whose wheels carry FFmpeg and both encoders; None without it."""
    try:
        return f"PyAV {package_version('av')}"
    except PackageNotFoundError:
        return None
