"""How near a sound is to its original: SI-SDR, and a distance of mel spectrograms; with the delay of codecs undone."""

import numpy as np
from numpy.typing import NDArray

from rarefy.codecs.audio_source import Samples

Floats = NDArray[np.float64]
WINDOWS = (512, 2048)  # samples of the spectra, each a quarter of its length apart
BANDS = 80
FLOOR = 1e-5  # of amplitudes, as in Descript's codec (Kumar et al. 2023, "High-fidelity audio compression")
FARTHEST = 4096  # samples that a codec may be late or early


def si_sdr(original: Samples, decoded: Samples) -> float:
    """The scale-invariant ratio of signal to distortion in dB, over all channels together (Le Roux et al. 2019).

    Both float [channels, n]. Infinite for equal sounds, minus infinity for what has nothing of the original.
    """
    x, y = (np.asarray(samples, np.float64) - samples.mean(1, keepdims=True) for samples in (original, decoded))
    energy = float((x * x).sum())
    part = x * (float((x * y).sum()) / energy if energy else 0.0)
    signal, distortion = float((part * part).sum()), float(np.square(y - part).sum())
    if not signal:
        return float("-inf") if energy or distortion else float("inf")
    return float(10 * np.log10(signal / distortion)) if distortion else float("inf")


def mel_distance(original: Samples, decoded: Samples, sample_rate: int) -> float:
    """Mean absolute difference of the logarithms (of 10) of mel spectra, over channels and two lengths of windows."""
    distances = []
    for window in WINDOWS:
        bands = mel_bands(window, sample_rate)
        logs = [np.log10(np.maximum(_spectra(samples, window) @ bands, FLOOR)) for samples in (original, decoded)]
        distances.append(float(np.abs(logs[0] - logs[1]).mean()))
    return float(np.mean(distances))


def mel_bands(window: int, sample_rate: int) -> Floats:
    """Triangles [window / 2 + 1, BANDS], evenly spread over mel (2595 log10(1 + f / 700)) up to half the rate."""
    top = 2595 * np.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    frequencies = np.linspace(0, sample_rate / 2, window // 2 + 1)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    triangles: Floats = np.maximum(0.0, np.minimum(rising, falling))
    return triangles


def _spectra(samples: Samples, window: int) -> Floats:
    """Amplitudes [channels, frames, window / 2 + 1] under a Hann window; short sounds are followed by silence."""
    padded = np.pad(samples, ((0, 0), (0, max(0, window - samples.shape[1]))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window, axis=1)[:, :: window // 4]
    amplitudes: Floats = np.abs(np.fft.rfft(frames * np.hanning(window))) * (2 / window)
    return amplitudes


def aligned(original: Samples, decoded: Samples) -> Samples:
    """The decoded sound without its delay, [channels, n] as the original: the best fit within `FARTHEST` samples."""
    length = original.shape[1]
    size = 1 << (length + decoded.shape[1]).bit_length()
    spectra = [np.fft.rfft(samples.sum(0, dtype=np.float64), size) for samples in (original, decoded)]
    fits = np.fft.irfft(np.conj(spectra[0]) * spectra[1], size)
    delays = np.arange(-FARTHEST, FARTHEST + 1)
    delay = int(delays[np.argmax(fits[delays])])
    moved = decoded[:, delay:] if delay >= 0 else np.pad(decoded, ((0, 0), (-delay, 0)))
    return np.pad(moved, ((0, 0), (0, max(0, length - moved.shape[1]))))[:, :length]
