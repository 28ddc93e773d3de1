"""Training a part of a codec while the rest stays as it is: cheaper steps, once the others are good.

The entropy model alone lowers the rate of latents that are given. The synthesis alone makes better pictures of latents,
and files stay as they are.
"""

from torch import nn

from rarefy.errors import OptionError

PARTS = ("all", "entropy", "synthesis")


def part_of(name: str) -> str:
    """The part that a parameter belongs to by its name: "entropy", "synthesis", or "analysis"."""
    places = name.split(".")
    if places[-1] == "gain_encoder":
        return "analysis"
    if "g_s" in places or places[-1] == "gain_decoder":
        return "synthesis"
    return "entropy" if "bottleneck" in places else "analysis"


def choose(model: nn.Module, part: str) -> None:
    """Let only the parameters of a part, one of `PARTS`, learn."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part in ("all", part_of(name)))
    if not any(p.requires_grad for p in model.parameters()):
        raise OptionError(f'this codec has no part "{part}" that could be trained')
