"""Who speaks, told from latents, small waveforms, Opus files of equal size and log-mel spectra, at one training cost.

`python classify_speakers.py RECORDINGS [RESULT.json]` stores the same windows of speech in several ways: as `.rfy`
files, as waveforms at so low a rate that they are as many numbers as the latents (lossless FLAC), as Opus files about
as large as the `.rfy` files, and as FLAC at the full rate. The network is the same for all of them: each gives it 54
numbers for every 128 samples. The table has accuracy, bytes, and how fast one process loads samples.
"""

import io
import json
import sys
from collections.abc import Callable, Sequence
from functools import cache
from math import log
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from photographs import BATCH, accuracy, products, spread
from speakers import LENGTH, RATE, Voices, crops, middle, network, recordings_of, windows
from torch import Tensor

from rarefy.codecs import api
from rarefy.codecs.audio import Audio
from rarefy.data import decode
from rarefy.tools import environment
from rarefy.tools.anchors_sound import SOUND_ANCHORS

CODEC, QUALITY = "walloc-audio", 70  # of about 8 kbit/s: Opus has none below 6
WINDOWS, SEEDS, EPOCHS = 8, 3, 20
STRIDE, LATENTS, USED = 128, 54, 192  # samples of a latent; latents there, and how many the network sees of a window
LOW_RATE = RATE * LATENTS // STRIDE  # 10,125 Hz: as many numbers as latents
SPECTRUM, FLOOR = 512, 1e-5  # samples of a spectrum, and the least energy of a band
LOADED = 5  # times that loading is timed

Files = Sequence[bytes]


class Way(NamedTuple):
    """Which files a way takes, and what a network is given of a batch of them: [N, LATENTS, n]."""

    files: str
    load: Callable[[Files], Tensor]


def stored(samples: Tensor) -> dict[str, list[bytes]]:
    """Windows [N, LENGTH] as files of each kind."""
    rfy = [api.encode(_audio(one), codec=CODEC, quality=QUALITY) for one in samples]
    return {
        "rfy": rfy,
        "opus": [SOUND_ANCHORS["opus"].file_of(_audio(one), len(data)) for one, data in zip(samples, rfy, strict=True)],
        "flac": flac_files(samples, RATE),
        "flac, low rate": flac_files(samples, LOW_RATE),
    }


def flac_files(samples: Tensor, rate: int) -> list[bytes]:
    """Without loss in 16 bits, at another rate."""
    files = []
    for one in samples:
        buffer = io.BytesIO()
        soundfile.write(buffer, _audio(one).resampled(rate).samples[0], rate, "PCM_16", format="FLAC")
        files.append(buffer.getvalue())
    return files


def _audio(samples: Tensor) -> Audio:
    return Audio(samples[None].numpy(), RATE)


def latents_of(files: Files) -> Tensor:
    """Integers of a batch, in one call of the entropy decoder."""
    latents = decode(files, output="integers")
    assert isinstance(latents, Tensor)
    return latents


def magnitudes_of(files: Files) -> Tensor:
    """Logarithms of what latents are beside their signs: to latents what spectra are to waveforms."""
    return latents_of(files).abs().float().log1p()


def waveforms_of(files: Files) -> Tensor:
    """Waveforms at the low rate, 54 samples side by side at each position."""
    samples = _samples_of(files, LOW_RATE)
    return samples.unflatten(1, (-1, LATENTS)).transpose(1, 2)


def spectra_of(files: Files) -> Tensor:
    """Logarithms of energies in 54 bands of mel, at every 128th sample."""
    samples = _samples_of(files, RATE)
    powers = (
        torch.stft(samples, SPECTRUM, STRIDE, window=torch.hann_window(SPECTRUM), return_complex=True).abs().square()
    )
    return (_bands() @ powers[:, :, : samples.shape[1] // STRIDE]).clamp(min=FLOOR).log()


def _samples_of(files: Files, rate: int) -> Tensor:
    return torch.from_numpy(np.concatenate([_read(data, rate) for data in files]))


def _read(data: bytes, rate: int) -> NDArray[np.float32]:
    """Samples [1, n] of a window, at a rate, and no more than it had: Opus ends with whole frames."""
    samples, own = soundfile.read(io.BytesIO(data), dtype="float32")
    resampled: NDArray[np.float32] = samples if own == rate else soxr.resample(samples, own, rate)
    return resampled[None, : LENGTH * rate // RATE]


@cache
def _bands() -> Tensor:
    """Triangles of equal width in mel (O'Shaughnessy 1987), [LATENTS, frequencies]."""
    top = 2595 * log(1 + RATE / 2 / 700, 10)
    edges = 700 * (10 ** (torch.linspace(0, top, LATENTS + 2) / 2595) - 1)
    frequencies = torch.linspace(0, RATE / 2, SPECTRUM // 2 + 1)
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp(min=0)


WAYS = {
    "latents": Way("rfy", latents_of),
    "latents, log-magnitudes": Way("rfy", magnitudes_of),
    "waveform, low rate": Way("flac, low rate", waveforms_of),
    "Opus of equal size, waveform": Way("opus", waveforms_of),
    "Opus of equal size, log-mel": Way("opus", spectra_of),
    "FLAC, log-mel": Way("flac", spectra_of),
}


def load(way: Way, files: Files) -> tuple[Tensor, float]:
    """All samples, and how many a second: the best of several times."""
    rates = []
    for _ in range(LOADED):
        begin = perf_counter()
        batches = [way.load(files[first : first + BATCH]) for first in range(0, len(files), BATCH)]
        rates.append(len(files) / (perf_counter() - begin))
    return torch.cat(batches).float(), max(rates)


def measure(way: Way, files: Files, voices: Voices) -> dict[str, Any]:
    """A line of the table: each recording is tested on once, by a network that learned from the speaker's others."""
    inputs, rate = load(way, files)
    speakers, folds = int(voices.labels.max()) + 1, int(voices.recordings.max()) + 1
    found = [mean(_tested(inputs, voices, fold, seed, speakers) for fold in range(folds)) for seed in range(SEEDS)]
    return {
        "accuracies": found,
        "bytes_per_sample": mean(map(len, files)),
        "numbers": LATENTS * USED,
        "samples_per_second": rate,
        "million_products": products(network(LATENTS, speakers), middle(inputs, USED)) / 1e6,
    }


def _tested(inputs: Tensor, voices: Voices, fold: int, seed: int, speakers: int) -> float:
    """The accuracy on the windows of one recording of each speaker."""
    torch.manual_seed(100 * seed + fold)
    is_test = voices.recordings == fold
    learned, labels = inputs[~is_test], voices.labels
    return accuracy(
        network(LATENTS, speakers),
        lambda epoch: crops(learned, USED, seed, epoch),
        labels[~is_test],
        middle(inputs[is_test], USED),
        labels[is_test],
        EPOCHS,
    )


def main(folder: Path, result: Path | None) -> None:
    """Print a line for each way, and write all of it."""
    recordings = recordings_of(folder)
    voices = windows(recordings, WINDOWS)
    files, rows = stored(voices.samples), {}
    for name, way in WAYS.items():
        row = rows[name] = measure(way, files[way.files], voices)
        print(
            f"{name:28} {spread(row['accuracies']):>12} %, {row['numbers']} numbers, "
            f"{row['bytes_per_sample']:.0f} bytes, {row['samples_per_second']:.0f} samples/s, "
            f"{row['million_products']:.1f} million products",
            flush=True,
        )
    if result is not None:
        facts = {
            **environment.describe(["python", Path(__file__).name, folder.name], torch.get_num_threads()),
            "codec": CODEC,
            "quality": QUALITY,
            "speakers": len(recordings),
            "recordings": len(recordings[0]),
            "windows": WINDOWS,
            "seeds": SEEDS,
        }
        result.write_text(json.dumps({**facts, "ways": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
