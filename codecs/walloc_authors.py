"""WaLLoC for pictures with the weights that its authors published: their networks, their integers, smaller files.

One setting: the authors' quantiser is fixed, so every quality gives the same picture. The decoder's attention sees the
whole picture, so a file is one unit. `rarefy weights convert` makes the weights.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rarefy.codecs.base import Codec, Unit
from rarefy.codecs.container import Header
from rarefy.entropy.lattice import Lattice
from rarefy.errors import FormatError, LimitError, WeightsError
from rarefy.models.walloc_authors import GROUPS, AttentionSynthesis, PacketAnalysis, compand, expand

MOST_POSITIONS = 1 << 16  # of latents, 4 megapixels at 3 levels: attention costs their square, here minutes of a core


@dataclass(frozen=True)
class WallocRgbConfig:
    """Sizes of the networks, those of the authors' f8c12; bits: of the largest latent, its sign included."""

    latents: int = 12
    levels: int = 3
    width: int = 768
    bits: int = 8

    def __post_init__(self) -> None:
        if not (1 <= self.levels <= 6 and 2 <= self.bits <= 8 and self.latents > 0):
            raise WeightsError(f"WaLLoC has 1 to 6 levels, latents of 2 to 8 bits and at least one of them, not {self}")
        if self.width < 1 or self.width % GROUPS:
            raise WeightsError(f"the decoder's width is a multiple of {GROUPS}, not {self.width}")


class FixedLattice(Lattice):
    """A `Lattice` whose latents are steps already, at any quality; `walloc-rgb` fits its contexts to given weights."""

    def __init__(self, latents: int) -> None:
        super().__init__(latents, axes=2, lambdas=(1e-3, 0.1), points=2)

    def gains(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Ones."""
        one = self.gain_encoder.new_ones(len(position), self.channels, 1, 1)
        return one, one


class WallocRgbCodec(Codec):
    """The authors' networks around a `FixedLattice`: latents are their companded integers, -127..127 in 8 bits."""

    name = "walloc-rgb"
    stride = 8
    has_quality = False
    has_regions = False
    Config = WallocRgbConfig
    config: WallocRgbConfig
    bottleneck: FixedLattice

    def __init__(self, config: WallocRgbConfig) -> None:
        super().__init__()
        c = self.config = config
        self.stride = 1 << c.levels
        self.g_a = PacketAnalysis(2, 3, c.levels, c.latents)
        self.g_s = AttentionSynthesis(3, c.levels, c.latents, c.width)
        self.bottleneck = FixedLattice(c.latents)

    def analysis(self, x: Tensor, unit: Unit) -> Tensor:
        """See `Codec.analysis`; the picture is mirrored at all its sides, as by the authors, not repeated at two.

        Raises LimitError for a picture that is too large to be decoded.
        """
        self._require_positions(unit.height, unit.width)
        rows, columns = (_mirrored(side, self.stride, x.device) for side in (unit.height, unit.width))
        return compand(self.g_a(x[:, :, rows][..., columns] - 0.5), self.config.bits)

    def synthesis(self, latents: Tensor, unit: Unit) -> Tensor:
        """See `Codec.synthesis`."""
        x_hat = self.g_s(expand(latents, self.config.bits)) + 0.5
        top, left = (_before(side, self.stride) for side in (unit.height, unit.width))
        x_hat = x_hat[:, :, top : top + unit.height, left : left + unit.width]
        missing = (0, -unit.width % self.stride, 0, -unit.height % self.stride)
        x_hat = F.pad(x_hat, missing, mode="replicate") if any(missing) else x_hat
        return F.avg_pool2d(x_hat, unit.reduction) if unit.reduction > 1 else x_hat

    def check(self, header: Header) -> None:
        """See `Codec.check`; raises FormatError for several units, LimitError for more than attention can look at."""
        super().check(header)
        if header.unit_count > 1:
            raise FormatError(
                f'codec "{self.name}" has pictures of one unit, since its decoder looks at all of them at once, '
                f"not of {header.unit_count}"
            )
        self._require_positions(header.height, header.width)

    def _require_positions(self, height: int, width: int) -> None:
        if -(-height // self.stride) * -(-width // self.stride) > MOST_POSITIONS:
            raise LimitError(
                f'codec "{self.name}" has pictures of up to {MOST_POSITIONS * self.stride**2} pixels, since its '
                f"decoder compares every part with every other, not of {width} x {height}: take another codec"
            )


def _before(side: int, stride: int) -> int:
    """How many of the missing pixels come before the first."""
    return -side % stride // 2


def _mirrored(side: int, stride: int, device: torch.device) -> Tensor:
    """Which row (or column) each of the extended picture is: reflected at the first and last, again and again."""
    first = _before(side, stride)
    period = max(2 * (side - 1), 1)
    at = torch.arange(-first, side + -side % stride - first, device=device) % period
    return torch.minimum(at, period - at)
