"""Perceptual metrics of 8-bit RGB pictures, with numpy and scipy alone: MS-SSIM, HaarPSI and DSS.

Each follows its paper and agrees with a published implementation (tests/test_bench_metrics.py says which, and to what
digit). All are 1 for equal pictures and fall with distortion; pictures are uint8 [H, W, 3].
"""

import numpy as np
from numpy.typing import NDArray

from rarefy.tools.metrics import Pixels, check_shapes

Plane = NDArray[np.float64]

# Z. Wang, E. Simoncelli, A. Bovik: Multiscale structural similarity for image quality assessment (2003), section 3.2.
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW, WINDOW_SIGMA = 11, 1.5
LUMINANCE_CONSTANT, CONTRAST_CONSTANT = (0.01 * 255) ** 2, (0.03 * 255) ** 2

YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])  # from RGB

# R. Reisenhofer et al.: A Haar wavelet-based perceptual similarity index (2018), section 4.
HAAR_CONSTANT, HAAR_SHARPNESS = 30.0, 4.2

# A. Balanov et al.: Image quality assessment based on DCT subband similarity (2015), section 3.
BLOCK, BAND_SIGMA, LEAST_WEIGHT = 8, 1.55, 1e-2
BAND_CONSTANTS = {True: 1000.0, False: 300.0}  # of the band of means, of all others
BAND_WINDOW, WORST_SHARE = 3, 0.05


def ms_ssim(reference: Pixels, decoded: Pixels) -> float | None:
    """Return the multiscale structural similarity, mean over the channels of RGB; None where a side is below 161.

    Five scales; at the smallest the window of 11 pixels must still fit.
    """
    check_shapes(reference, decoded)
    if min(reference.shape[:2]) <= (WINDOW - 1) * 2 ** (len(SCALE_WEIGHTS) - 1):
        return None
    channels = [
        _ms_ssim_of_plane(reference[..., channel].astype(np.float32), decoded[..., channel].astype(np.float32))
        for channel in range(reference.shape[2])
    ]
    return float(np.mean(channels))


def _ms_ssim_of_plane(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    product = 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS):
        is_last = scale == len(SCALE_WEIGHTS) - 1
        similarity, contrast = _ssim(x, y)
        product *= max(similarity if is_last else contrast, 0.0) ** weight
        if not is_last:
            x, y = _halved(x), _halved(y)
    return product


def _ssim(x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[float, float]:
    """Return the means of similarity and of its part without luminance over all whole windows."""
    mean_x, mean_y = _window(x), _window(y)
    product, square_x, square_y = mean_x * mean_y, mean_x * mean_x, mean_y * mean_y
    covariance = _window(x * y) - product
    variances = _window(x * x + y * y) - square_x - square_y
    contrast = (2 * covariance + CONTRAST_CONSTANT) / (variances + CONTRAST_CONSTANT)
    luminance = (2 * product + LUMINANCE_CONSTANT) / (square_x + square_y + LUMINANCE_CONSTANT)
    return float(np.mean(contrast * luminance, dtype=np.float64)), float(np.mean(contrast, dtype=np.float64))


def _window(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return Gaussian means around every pixel whose window lies inside."""
    from scipy.ndimage import correlate1d

    weights = _gaussian(WINDOW, WINDOW_SIGMA)
    edge = WINDOW // 2
    rows = correlate1d(plane, weights, axis=0)[edge:-edge]
    return np.asarray(correlate1d(rows, weights, axis=1)[:, edge:-edge])


def _gaussian(size: int, sigma: float) -> Plane:
    weights = np.exp(-np.square(np.arange(size) - (size - 1) / 2) / (2 * sigma**2))
    return np.asarray(weights / weights.sum())


def _halved(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return means of 2x2 pixels; an odd side gets a row of zeros in front, as in the implementations people use."""
    padded = np.pad(plane, [(side % 2, side % 2) for side in plane.shape])
    height, width = (side // 2 * 2 for side in padded.shape)
    blocks = padded[:height, :width].reshape(height // 2, 2, width // 2, 2)
    return np.asarray(blocks.mean((1, 3)), np.float32)


def haarpsi(reference: Pixels, decoded: Pixels) -> float:
    """Return the Haar wavelet-based perceptual similarity of colour pictures at half size, 0..1."""
    check_shapes(reference, decoded)
    x, y = (_half_size_yiq(pixels) for pixels in (reference, decoded))
    similarities, weights = [], []
    for axis in (0, 1):
        levels = [[np.abs(_haar(picture[0], level, axis)) for picture in (x, y)] for level in (1, 2, 3)]
        similarities.append((_alike(*levels[0]) + _alike(*levels[1])) / 2)
        weights.append(np.maximum(*levels[2]))
    colours = [[np.abs(_box(picture[channel])) for picture in (x, y)] for channel in (1, 2)]
    similarities.append((_alike(*colours[0]) + _alike(*colours[1])) / 2)
    weights.append((weights[0] + weights[1]) / 2)
    squashed = 1 / (1 + np.exp(-HAAR_SHARPNESS * np.array(similarities)))
    tiny = np.finfo(np.float64).eps
    score = (np.sum(squashed * np.array(weights)) + tiny) / (np.sum(weights) + tiny)
    return float((np.log(score / (1 - score)) / HAAR_SHARPNESS) ** 2) if score < 1 else 1.0


def _half_size_yiq(pixels: Pixels) -> Plane:
    """Return float64 [3, h, w]: means of 2x2 pixels, the last row or column of an odd side halved with zeros."""
    planes = np.moveaxis(pixels @ YIQ.T, 2, 0)
    padded = np.pad(planes, [(0, 0), *((0, side % 2) for side in planes.shape[1:])])
    _, height, width = padded.shape
    return np.asarray(padded.reshape(3, height // 2, 2, width // 2, 2).mean((2, 4)))


def _haar(plane: Plane, level: int, axis: int) -> Plane:
    """Return the difference of neighbouring halves of every square of 2^level pixels, zeros around the picture."""
    side = 2**level
    sums = np.cumsum(np.cumsum(np.pad(plane, (side // 2, side // 2)), 0), 1)  # (side//2 - 1) before, one for the sums
    return np.asarray(_difference(sums, side, axis, plane.shape)) / side


def _difference(sums: Plane, side: int, axis: int, shape: tuple[int, ...]) -> Plane:
    """From running sums: first half less second half of the squares that begin at every pixel."""
    height, width = shape
    half = side // 2

    def total(top: int, left: int, rows: int, columns: int) -> Plane:
        corners = [sums[y : y + height, x : x + width] for y in (top, top + rows) for x in (left, left + columns)]
        return np.asarray(corners[3] - corners[2] - corners[1] + corners[0])

    if axis == 0:
        return total(0, 0, half, side) - total(half, 0, half, side)
    return total(0, 0, side, half) - total(0, half, side, half)


def _box(plane: Plane) -> Plane:
    """Return the mean of every pixel and its neighbours to the right and below, zeros beyond the picture."""
    padded = np.pad(plane, (0, 1))
    return np.asarray((padded[:-1, :-1] + padded[1:, :-1] + padded[:-1, 1:] + padded[1:, 1:]) / 4)


def _alike(x: Plane, y: Plane) -> Plane:
    return (2 * x * y + HAAR_CONSTANT) / (x * x + y * y + HAAR_CONSTANT)


def dss(reference: Pixels, decoded: Pixels) -> float | None:
    """Return the DCT subband similarity of luma, up to 1; None where a picture has fewer than 20 blocks of 8x8.

    Below that the worst twentieth of the blocks is none.
    """
    from scipy.fft import dctn

    check_shapes(reference, decoded)
    rows, columns = (side // BLOCK for side in reference.shape[:2])
    if round(WORST_SHARE * rows * columns) == 0:
        return None
    bands = []
    for pixels in (reference, decoded):
        luma = (pixels @ YIQ[0])[: rows * BLOCK, : columns * BLOCK]
        bands.append(dctn(luma.reshape(rows, BLOCK, columns, BLOCK), axes=(1, 3), norm="ortho"))
    distances = np.square(np.arange(BLOCK) + 0.5)
    weights = np.exp(-(distances[:, None] + distances) / (2 * BAND_SIGMA**2))
    weights[weights < LEAST_WEIGHT] = 0
    weights /= weights.sum()
    return sum(
        weights[m, n] * _band_similarity(bands[0][:, m, :, n], bands[1][:, m, :, n], m == n == 0)
        for m, n in zip(*np.nonzero(weights), strict=True)
    )


def _band_similarity(x: Plane, y: Plane, is_mean: bool) -> float:
    """Return the mean of the worst local similarities of two bands; of the band of means, times their correlation's."""
    constant = BAND_CONSTANTS[is_mean]
    mean_x, mean_y = _neighbours(x), _neighbours(y)
    variance_x = np.maximum(_neighbours(x * x) - mean_x**2, 0)
    variance_y = np.maximum(_neighbours(y * y) - mean_y**2, 0)
    geometric = np.sqrt(variance_x * variance_y)
    similarity = _worst((2 * geometric + constant) / (variance_x + variance_y + constant))
    if not is_mean:
        return similarity
    covariance = _neighbours(x * y) - mean_x * mean_y
    return similarity * _worst((covariance + constant) / (geometric + constant))


def _neighbours(plane: Plane) -> Plane:
    """Return Gaussian means of 3x3, zeros around."""
    from scipy.ndimage import correlate1d

    weights = _gaussian(BAND_WINDOW, WINDOW_SIGMA)
    return np.asarray(correlate1d(correlate1d(plane, weights, 0, mode="constant"), weights, 1, mode="constant"))


def _worst(values: Plane) -> float:
    count = round(WORST_SHARE * values.size)
    return float(np.mean(np.partition(values, count - 1, axis=None)[:count]))
