"""Rate and distortion of a codec in training: ideal code lengths of rounded latents on whole pictures, no files."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rarefy.codecs.any_codec import AnyCodec
from rarefy.codecs.sound import SoundCodec
from rarefy.tools.evaluate_sounds import evaluate_sounds
from rarefy.tools.patches import read_rgb
from rarefy.tools.pools import files_of, readable_files_of

POSITIONS = (0.05, 0.15, 0.30, 0.45, 0.60, 0.75, 0.90)


def read_pixels(path: Path) -> Tensor:
    """A picture as uint8 [1, 3, H, W]; raises MediaError for what is damaged."""
    return torch.from_numpy(read_rgb(path)).permute(2, 0, 1)[None]


@torch.inference_mode()
def rate_and_psnr(model: nn.Module, pixels: Tensor, position: float) -> tuple[float, float]:
    """Bits per pixel and PSNR of the picture rounded to 8 bits, uint8 [1, 3, H, W], at a quality in 0..1."""
    height, width = pixels.shape[2:]
    x = F.pad(pixels.float() / 255, (0, -width % 64, 0, -height % 64), mode="replicate")
    x = x.contiguous(memory_format=torch.channels_last)
    x_hat, bits = model(x, 100 * position)
    decoded = (x_hat[:, :, :height, :width].clamp(0, 1) * 255).round()
    error = (decoded - pixels).square().mean()
    return float(bits / (height * width)), float(10 * torch.log10(255**2 / error))


def evaluate_held_back(model: AnyCodec, folders: list[Path], one_in: int) -> list[dict[str, float]]:
    """As `evaluate`, over the held-back side of folders of the codec's medium; empty without any."""
    files = readable_files_of(model.name, held_back_files(folders, model.name, one_in))
    if isinstance(model, SoundCodec):
        return evaluate_sounds(model, files)
    return evaluate(model, files) if files else []


def held_back_files(folders: list[Path], codec: str, one_in: int) -> list[Path]:
    """The held-back side of folders of the codec's medium."""
    return files_of(codec, folders, one_in, held_back=True)


def evaluate(model: nn.Module, files: list[Path], positions: tuple[float, ...] = POSITIONS) -> list[dict[str, float]]:
    """Means over pictures at each quality: [{"quality", "bits_per_pixel", "psnr"}]."""
    device = next(model.parameters()).device
    sums = torch.zeros(len(positions), 2, dtype=torch.float64)
    for path in files:
        pixels = read_pixels(path).to(device)
        sums += torch.tensor([rate_and_psnr(model, pixels, p) for p in positions], dtype=torch.float64)
    means = (sums / len(files)).tolist()
    return [
        {"quality": 100 * p, "bits_per_pixel": rate, "psnr": psnr}
        for p, (rate, psnr) in zip(positions, means, strict=True)
    ]
