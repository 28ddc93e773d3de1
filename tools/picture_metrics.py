"""The metrics that `rarefy bench images` knows, and whether this machine can measure them.

A name in METRICS gives the metric, or None and the reason why it is left out.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from rarefy.tools.harness.parts import Metric
from rarefy.tools.metrics import Pixels, check_shapes, psnr
from rarefy.tools.similarity import dss, haarpsi, ms_ssim

Found = tuple[Metric[Pixels] | None, str]
SSIMULACRA2_LEAST_SIDE = 8  # pixels, below which the package has nothing to compare
LPIPS_LEAST_SIDE = 32  # pixels, of AlexNet's first layers
ALEXNET = "alexnet-owt-7be5be79.pth"  # torchvision's name of the weights, pretrained on ImageNet


def _psnr() -> Found:
    return Metric("psnr_db", "PSNR", "of RGB, all samples of a picture, dB", psnr), ""


def _ms_ssim() -> Found:
    describe = "mean of R, G and B, 0..1; on axes and for rate differences -10 log10(1 - MS-SSIM); sides above 160"
    return Metric("ms_ssim", "MS-SSIM", describe, ms_ssim, "decibels", 4), ""


def _haarpsi() -> Found:
    return Metric("haarpsi", "HaarPSI", "of YIQ at half size, 0..1", haarpsi, digits=4), ""


def _dss() -> Found:
    return Metric("dss", "DSS", "DCT subband similarity of luma, 0..1", dss, digits=4), ""


def _ssimulacra2() -> Found:
    if find_spec("ssimulacra2") is None:
        return None, "the package ssimulacra2 is not installed"
    return Metric("ssimulacra2", "SSIMULACRA2", "up to 100", _ssimulacra2_of), ""


def _ssimulacra2_of(reference: Pixels, decoded: Pixels) -> float | None:
    from ssimulacra2 import compute_ssimulacra2

    check_shapes(reference, decoded)
    if min(reference.shape[:2]) < SSIMULACRA2_LEAST_SIDE:
        return None
    return float(compute_ssimulacra2(_lossless(reference), _lossless(decoded)))


def _lossless(pixels: Pixels) -> BytesIO:
    """Return a picture as a file, which is what the package reads."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "BMP")
    return file


def _lpips() -> Found:
    if find_spec("lpips") is None or find_spec("torchvision") is None:
        return None, "the packages lpips and torchvision are not both installed"
    from torch import hub

    if not Path(hub.get_dir(), "checkpoints", ALEXNET).is_file():
        return None, f"the weights of its backbone, {ALEXNET}, are not in {hub.get_dir()}/checkpoints"
    describe = "LPIPS version 0.1 with AlexNet, negated so that higher is better"
    return Metric("lpips_alex", "-LPIPS", describe, _lpips_measure(), digits=4), ""


def _lpips_measure() -> Callable[[Pixels, Pixels], float | None]:
    import torch
    from lpips import LPIPS

    network = LPIPS(net="alex", verbose=False).eval()

    def measure(reference: Pixels, decoded: Pixels) -> float | None:
        check_shapes(reference, decoded)
        if min(reference.shape[:2]) < LPIPS_LEAST_SIDE:
            return None
        pictures = [torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None] for pixels in (reference, decoded)]
        with torch.inference_mode():
            return -float(network(*(picture / 127.5 - 1 for picture in pictures)))

    return measure


METRICS: Mapping[str, Callable[[], Found]] = {
    "psnr": _psnr,
    "ms-ssim": _ms_ssim,
    "haarpsi": _haarpsi,
    "dss": _dss,
    "ssimulacra2": _ssimulacra2,
    "lpips": _lpips,
}
