"""The trainer of every codec; `rarefy.tools.train_command` is its command.

One flat loop: patches from memory, a quality drawn per patch, loss = powers of bits + lambda * squared error, Muon for
hidden matrices and Adam for the rest, an exponential moving average of the weights. The state is saved at intervals and
on SIGTERM or Ctrl-C, and the same command goes on from there exactly. It needs no compiled extension.
"""

import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rarefy.codecs.any_codec import AnyCodec
from rarefy.codecs.registry import build
from rarefy.models.layers import PartialBlock
from rarefy.tools.endings import ENDINGS
from rarefy.tools.muon import Muon
from rarefy.tools.parts import choose, choose_gradients
from rarefy.tools.pools import Pool
from rarefy.tools.recipe import Recipe
from rarefy.tools.replayed import Replayed
from rarefy.tools.training_log import COLUMNS, Log, Window


def stratified(count: int, device: torch.device, generator: torch.Generator) -> Tensor:
    """`count` qualities in 0..1, one from each of `count` equal parts, in random order."""
    u = torch.rand(count, device=device, generator=generator)
    order = torch.randperm(count, device=device, generator=generator)
    return (order + u) / count


def rate_distortion(
    model: AnyCodec,
    pixels: Tensor,
    position: Tensor,
    powers: tuple[float, float],
    part: str = "all",
    paid: tuple[float, float] = (1.0, 1.0),
) -> tuple[Tensor, Tensor]:
    """Loss, and [bits per pixel, squared error on 0..1] means, of patches uint8 [B, 3, H, W] at qualities [B].

    Crops of sound are floats [B, 3, n], and what is said of pixels is that of samples in time. powers: those of lambda
    and of a patch's cost in the loss, see `TrainRecipe`. part: of `rarefy.tools.parts`; "entropy" is paid in bits
    alone: no picture is made, and its squared error is said to be 1. paid: times lambda for error, at the lowest and at
    the highest quality.
    """
    x = _signal(pixels)
    multiplier = model.rate_multiplier(position)
    weight = (multiplier / multiplier.log().mean().exp()) ** powers[0]
    if part == "entropy":
        cost = bits_per_pixel = model.rate(x, 100 * position) / x[0, 0].numel()
        error = torch.ones_like(cost)
    else:
        x_hat, bits = model(x, 100 * position)
        error = (x_hat - x).square().flatten(1).mean(1)
        bits_per_pixel = bits / x[0, 0].numel()
        price = multiplier * (paid[0] + (paid[1] - paid[0]) * position)
        cost = bits_per_pixel + price * 255**2 * error
    loss = (weight * cost ** powers[1]).mean()
    return loss, torch.stack([bits_per_pixel.mean(), error.log().mean()]).detach()


def _signal(patches: Tensor) -> Tensor:
    return patches if patches.is_floating_point() else patches.float() / 255


def optimisers(model: nn.Module, adam: float, muon: float) -> list[torch.optim.Optimizer]:
    """Muon for the weights of residual blocks, Adam for the rest, or for all where Muon's rate is 0."""
    trained = [p for p in model.parameters() if p.requires_grad]
    blocks = [m for m in model.modules() if isinstance(m, PartialBlock)]
    hidden = {p for block in blocks for p in block.parameters() if p.dim() == 4 and muon}
    rest = [p for p in trained if p not in hidden]
    matrices = [p for p in trained if p in hidden]
    found: list[torch.optim.Optimizer] = []
    if rest:
        found.append(torch.optim.Adam(rest, lr=adam, betas=(0.9, 0.99), fused=True))
    if matrices:
        found.append(Muon(matrices, lr=muon))
    return found


class Trainer:
    """Everything that a run holds; `state_dict` and `load_state_dict` make it resume exactly."""

    def __init__(self, recipe: Recipe, patches: Pool, model: AnyCodec, compile_model: bool) -> None:
        self.recipe, self.patches, self.model = recipe, patches, model
        self.device = patches.device
        self.generator = torch.Generator(self.device).manual_seed(recipe.train.seed)
        choose(model, recipe.train.part)
        choose_gradients(model, recipe.train.gradients)
        self.optimisers = optimisers(model, recipe.train.adam, recipe.train.muon)
        self.rates = [g["lr"] for o in self.optimisers for g in o.param_groups]
        self.ema = [p.detach().clone() for p in model.parameters()]
        self.norm = torch.zeros((), device=self.device)
        self.step, self.seconds = 0, 0.0
        self.powers = (recipe.train.weight_power, recipe.train.cost_power)
        self.loss_function = torch.compile(rate_distortion) if compile_model else rate_distortion
        self.scale_function = torch.compile(scale_gradients) if compile_model else scale_gradients
        self.gradients = Replayed(self._gradients) if self.device.type == "cuda" else self._gradients

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers that the next process needs."""
        return {
            "model": self.model.state_dict(),
            "ema": self.ema,
            "optimisers": [o.state_dict() for o in self.optimisers],
            "gradients": [p.grad for p in self._hidden()],
            "generator": self.generator.get_state(),
            "norm": self.norm,
            "step": self.step,
            "seconds": self.seconds,
        }

    def _hidden(self) -> list[Tensor]:
        """Muon's parameters: between two of its steps their gradients add up, and belong to the state."""
        return [p for o in self.optimisers if isinstance(o, Muon) for p in o.param_groups[0]["params"]]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of an earlier process of the same recipe."""
        self.model.load_state_dict(state["model"])
        self.ema = [t.to(self.device) for t in state["ema"]]
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        for parameter, gradient in zip(self._hidden(), state["gradients"], strict=True):
            parameter.grad = gradient
        self.generator.set_state(state["generator"].cpu())
        self.norm.copy_(state["norm"])
        self.step, self.seconds = state["step"], state["seconds"]

    def schedule(self, minutes: float) -> float:
        """Factor of the learning rates: warm-up by steps, flat, then linear to zero by time."""
        t = self.recipe.train
        spent = self.seconds / 60 / minutes
        decay = 1.0 if spent < t.decay_from else max(0.0, (1 - spent) / (1 - t.decay_from))
        return decay * min(1.0, (self.step + 1) / t.warmup_steps)

    def train_step(self, factor: float) -> tuple[Tensor, Tensor, Tensor]:
        """One step; gives loss, [bits per pixel, log squared error] and the gradient's norm, all on the device."""
        t = self.recipe.train
        pixels = self.patches.draw(t.batch, self.generator)
        position = stratified(t.batch, self.device, self.generator)
        loss, facts, norm = self.gradients(pixels, position)
        muon_now = self.step % t.muon_every == 0
        for optimiser, rate in zip(self.optimisers, self.rates, strict=True):
            if muon_now or not isinstance(optimiser, Muon):
                optimiser.param_groups[0]["lr"] = rate * factor
                optimiser.step()
                optimiser.zero_grad(set_to_none=False)  # a recorded graph adds to these very tensors
        self.step += 1
        with torch.no_grad():
            weight = min(t.ema, self.step / (self.step + 10))
            torch._foreach_lerp_(self.ema, [p.detach() for p in self.model.parameters()], 1 - weight)
        return loss, facts, norm

    def _gradients(self, pixels: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Forward and backward: adds clipped gradients to the parameters', gives what `train_step` gives."""
        t = self.recipe.train
        with torch.autocast(self.device.type, torch.bfloat16):
            loss, facts = self.loss_function(self.model, pixels, position, self.powers, t.part, t.paid)
        loss.backward()
        return loss.detach(), facts, self._clip()

    def _clip(self) -> Tensor:
        """Limit the gradients to a multiple of their running norm; gradients that are not finite become zero."""
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        finite = torch.isfinite(norm)
        running = torch.where((self.norm == 0) & finite, norm, self.norm)
        limit = self.recipe.train.clip * running
        self.scale_function(gradients, (limit / (norm + 1e-12)).clamp(max=1.0), finite)
        self.norm.copy_(torch.where(finite, running.lerp(torch.minimum(norm, limit), 0.02), running))
        return norm


def scale_gradients(gradients: list[Tensor], scale: Tensor, finite: Tensor) -> None:
    """Multiply in place by `scale`, or zero everything where `finite` is false."""
    for gradient in gradients:
        gradient.copy_(torch.where(finite, gradient * scale, 0.0))


def build_model(recipe: Recipe, patches: Pool, device: torch.device) -> AnyCodec:
    """A fresh codec whose first step is already a linear transform codec (principal components of training patches)."""
    torch.manual_seed(recipe.train.seed)
    model = build(recipe.codec, recipe.model)
    generator = torch.Generator(patches.device).manual_seed(recipe.train.seed)
    sample = _signal(patches.draw(256, generator).cpu())
    model.start(sample)
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types leave it out


def save(trainer: Trainer, folder: Path) -> None:
    """Write the state under a temporary name and rename it, so that a kill never leaves half a state."""
    part = folder / "state.pt.part"
    torch.save(trainer.state_dict(), part)
    part.replace(folder / "state.pt")


def averaged(trainer: Trainer) -> AnyCodec:
    """The codec with the averaged weights, for evaluation and export. The trainer's own model takes them over."""
    with torch.no_grad():
        torch._foreach_copy_(list(trainer.model.parameters()), trainer.ema)
    return trainer.model.eval()


def run(
    trainer: Trainer,
    folder: Path,
    *,
    log_seconds: float,
    save_seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Train until the recipe's minutes are spent or a signal comes; gives that signal, 0 where the run is complete.

    clock: what minutes are counted by, in seconds.
    """
    stop = [0]
    ours = [number for number in (signal.SIGINT, *ENDINGS) if signal.getsignal(number) != signal.SIG_IGN]
    before = [signal.signal(number, lambda number, _: stop.__setitem__(0, number)) for number in ours]
    try:
        _run(trainer, folder, log_seconds, save_seconds, clock, stop)
    finally:
        for number, handler in zip(ours, before, strict=True):
            signal.signal(number, handler)
    return stop[0]


def _run(
    trainer: Trainer,
    folder: Path,
    log_seconds: float,
    save_seconds: float,
    clock: Callable[[], float],
    stop: list[int],
) -> None:
    recipe = trainer.recipe
    log, window = Log(folder, trainer.step), Window(trainer.device)
    started, last_log, last_save, before = False, time.monotonic(), time.monotonic(), clock()
    while not stop[0] and trainer.seconds < 60 * recipe.train.minutes:
        factor = trainer.schedule(recipe.train.minutes)
        window.add(*trainer.train_step(factor))
        now, spent = time.monotonic(), clock()
        if not started:  # compilation is no training time
            started, before = True, spent
        trainer.seconds += spent - before
        before = spent
        if now - last_log > log_seconds and not stop[0]:
            log.add(_row(trainer, factor, window.mean(trainer.step)))
            last_log = now
        if now - last_save > save_seconds:
            window.check(trainer.step)
            save(trainer, folder)
            last_save = now
    window.check(trainer.step)
    save(trainer, folder)
    log.plot()


def _row(trainer: Trainer, factor: float, mean: list[float]) -> dict[str, float]:
    data = trainer.recipe.data.positions * trainer.recipe.train.batch * trainer.step / 1e6
    values = (trainer.step, trainer.seconds / 60, data, factor, mean[0], mean[1], -10 * mean[2] / math.log(10), mean[3])
    return dict(zip(COLUMNS, values, strict=True))
