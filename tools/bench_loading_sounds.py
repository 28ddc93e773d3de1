"""Loading of sounds to train on: latents from packed shards against Opus files of equal size, made as small.

Opus files are, one by one, those of the bit rate that comes nearest to the size of the `.rfy` file of the same piece.
"""

import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rarefy.codecs.audio import Audio, open_audio
from rarefy.codecs.sound import SoundCodec, SoundPart
from rarefy.codecs.weights import load_any
from rarefy.data.layout import MOST_CHANNELS
from rarefy.data.manifest import Settings
from rarefy.data.packing import Packer
from rarefy.data.shards import ShardWriter
from rarefy.errors import OptionError
from rarefy.tools import environment
from rarefy.tools.bench_loaders import Stored, Ways, latents_of, timings

SECONDS = 2
SHARD_BYTES = 10**8
AGAINST = "opus, as few numbers"


def measure(
    files: Sequence[Path], codec: str, quality: float, count: int, workers: int, command: Sequence[str]
) -> dict[str, Any]:
    """Return samples per second of each way; see `rarefy.tools.bench_loading.measure`.

    Raises OptionError for recordings that are too short, or mono and stereo ones together.
    """
    coder = load_any(codec)
    assert isinstance(coder, SoundCodec)
    channels = _channels_of(files)
    part = coder.part(channels)
    weights = coder.weights_hash.hex()
    with tempfile.TemporaryDirectory() as name:
        latents, opus = Path(name, "latents"), Path(name, "opus.tar")
        settings = Settings(codec, weights, quality, "none", "pieces", SHARD_BYTES, seconds=SECONDS)
        sizes = _write(list(_pieces(files, count, part.sample_rate)), settings, latents, opus)
        found = timings(_ways(latents, opus, part), latents, count, workers)
    rates = found["samples_per_second"]
    return {
        **environment.describe(command, 1),
        "codec": codec,
        "weights": weights[:8],
        "quality": quality,
        "sounds": f"{count} pieces of {SECONDS} s, {('mono', 'stereo')[channels - 1]}, from {len(files)} recordings",
        "bytes_per_sample": {"rfy": sizes[0] / count, "opus": sizes[1] / count},
        "kilobits_per_second": 8 * sizes[0] / count / SECONDS / 1000,
        **found,
        "against": AGAINST,
        "speedup": rates["latents"] / rates[AGAINST],
    }


def _channels_of(files: Sequence[Path]) -> int:
    found: set[int] = set()
    for path in files:
        with open_audio(path) as reader:
            found.add(reader.channels)
            if reader.seconds < SECONDS:
                raise OptionError(f"{path}: has no piece of {SECONDS} seconds")
    if len(found) > 1 or max(found) > MOST_CHANNELS:
        listed = ", ".join(map(str, sorted(found)))
        raise OptionError(f"the recordings have {listed} channels: name mono ones alone, or stereo ones")
    return found.pop()


def _ways(latents: Path, opus: Path, part: SoundPart) -> Ways:
    """Opus is decoded alone, and then brought to the rate at which it is as many numbers as the latents."""
    low = round(part.sample_rate * part.bottleneck.channels / part.stride / part.channels)
    decoders: dict[str, Callable[[bytes], Tensor]] = {"opus": decoded, AGAINST: partial(decoded, rate=low)}
    others = {name: Stored(opus, "opus", decoder) for name, decoder in decoders.items()}
    return {"latents": latents_of(latents), **others}


def decoded(data: bytes, rate: int | None = None) -> Tensor:
    """The samples of a piece by libsndfile, float32 [n, channels]; rate: in Hz, by soxr, that of the file without."""
    import soundfile
    import soxr

    samples, own = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    samples = samples[: SECONDS * own]  # the last frame of Opus is whole
    return torch.from_numpy(samples if rate is None else soxr.resample(samples, own, rate))


def _write(pieces: Sequence[Audio], settings: Settings, latents: Path, opus: Path) -> tuple[int, int]:
    """Write shards of both kinds; returns the bytes of all `.rfy` files and of all Opus files."""
    from rarefy.codecs import api
    from rarefy.tools.anchors_sound import SOUND_ANCHORS

    sizes = np.zeros(2, np.int64)
    others = ShardWriter(opus)
    with Packer(latents, settings) as packer:
        for number, piece in enumerate(pieces):
            data = api.encode(piece, codec=settings.codec, quality=settings.quality)
            other = SOUND_ANCHORS["opus"].file_of(piece, len(data))
            packer.add(f"{number:06}", "", {"rfy": data})
            others.add(f"{number:06}", {"opus": other})
            sizes += len(data), len(other)
        packer.finish()
    others.close()
    return int(sizes[0]), int(sizes[1])


def _pieces(files: Sequence[Path], count: int, rate: int) -> Iterator[Audio]:
    """Pieces at random places, as many from each recording, at a sample rate."""
    source = np.random.default_rng(0)
    for number, path in enumerate(files):
        with open_audio(path) as reader:
            length = SECONDS * reader.sample_rate
            for start in sorted(
                source.integers(reader.length - length + 1, size=len(range(number, count, len(files))))
            ):
                yield Audio(reader.read(int(start), length), reader.sample_rate).resampled(rate)
