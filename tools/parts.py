"""Training a part of a codec while the rest stays as it is: cheaper steps, once the others are good.

The entropy model alone lowers the rate of latents that are given. "integers" is the same under the rounding of eight
bits, as the last thing before an export. The synthesis alone makes better pictures of latents, and files stay as they
are.
"""

from torch import Tensor, nn

from rarefy.codecs.any_codec import AnyCodec
from rarefy.entropy.hyperprior import Hyperprior
from rarefy.entropy.quantise import quantise_scales
from rarefy.errors import OptionError
from rarefy.models.hyper import ScaleNetwork
from rarefy.tools.rounded import RoundedScales

PARTS = ("all", "entropy", "integers", "synthesis")
RATE_ALONE = ("entropy", "integers")  # parts that are paid in bits, without a picture
CALIBRATION_QUALITIES = (0.0, 0.25, 0.5, 0.75, 1.0)


def part_of(name: str) -> str:
    """The part that a parameter belongs to by its name: "entropy", "synthesis", or "analysis"."""
    places = name.split(".")
    if places[-1] == "gain_encoder":
        return "analysis"
    if "g_s" in places or places[-1] == "gain_decoder":
        return "synthesis"
    return "entropy" if "bottleneck" in places else "analysis"


def choose(model: nn.Module, part: str) -> None:
    """Let only the parameters of a part learn; "all" of them by default."""
    if part not in PARTS:
        raise OptionError(f'train.part is one of {", ".join(PARTS)}, not "{part}"')
    wanted = "entropy" if part == "integers" else part
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(wanted in ("all", part_of(name)))
    if not any(p.requires_grad for p in model.parameters()):
        raise OptionError(f'this codec has no part "{part}" that could be trained')


def under_rounding(model: AnyCodec, x: Tensor) -> RoundedScales:
    """Train the model's scale network from now on as its integers round; x: a batch of training pictures in 0..1.

    Raises OptionError where there is no scale network.
    """
    bottleneck = next(iter(model.bottlenecks().values()))
    if not isinstance(bottleneck, Hyperprior) or not isinstance(bottleneck.scales, ScaleNetwork):
        raise OptionError(f'codec "{model.name}" has no scale network: train.part = "integers" is not for it')

    def calibrate(position: float) -> None:
        model.rate(x, 100 * position)

    rounded = RoundedScales(bottleneck.scales, quantise_scales(bottleneck, calibrate, CALIBRATION_QUALITIES))
    bottleneck.rounded = rounded
    return rounded
