"""Training a part of a codec while the rest stays as it is: cheaper steps, once the others are good.

The entropy model alone lowers the rate of latents that are given. The synthesis alone makes better pictures of latents,
and files stay as they are. Latents that a network was widened by can learn alone, too: what the others are coded as
stays as it is.
"""

from torch import nn

from rarefy.codecs.image import ImageCodec
from rarefy.entropy.hyperprior import Hyperprior
from rarefy.entropy.lattice import Lattice
from rarefy.errors import OptionError
from rarefy.tools.widen import added

PARTS = ("all", "entropy", "synthesis", "added")


def part_of(name: str) -> str:
    """The part that a parameter belongs to by its name: "entropy", "synthesis", or "analysis"."""
    places = name.split(".")
    if places[-1] == "gain_encoder":
        return "analysis"
    if "g_s" in places or places[-1] == "gain_decoder":
        return "synthesis"
    return "entropy" if "bottleneck" in places else "analysis"


def choose(model: nn.Module, part: str) -> None:
    """Let only the parameters of a part, one of `PARTS`, learn; of "added", only the values that are its own.

    A model is chosen a part of once: those values stay the only ones.
    """
    if part == "added":
        _choose_added(model)
        return
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part in ("all", part_of(name)))
    if not any(p.requires_grad for p in model.parameters()):
        raise OptionError(f'this codec has no part "{part}" that could be trained')


def choose_gradients(model: nn.Module, gradients: str) -> None:
    """Let gradients pass the rounding of latents in this way, of `rarefy.entropy.likelihood.ROUNDINGS`.

    Raises OptionError for a codec that has the straight way alone.
    """
    bottlenecks = [module for module in model.modules() if isinstance(module, Hyperprior | Lattice)]
    if not bottlenecks and gradients != "straight":
        raise OptionError(f'the entropy model of this codec has no gradients "{gradients}"')
    for bottleneck in bottlenecks:
        bottleneck.rounding = gradients


def _choose_added(model: nn.Module) -> None:
    masks = added(model) if isinstance(model, ImageCodec) else {}
    if not masks:
        raise OptionError("this codec has no latents beside its blocks: `rarefy weights widen` adds some")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in masks)
        if name in masks:
            mask = masks[name].to(parameter.device)
            parameter.register_hook(lambda gradient, mask=mask: gradient * mask)
