"""What the experiments here share: windows of photographs, a small network, and how it is trained.

The task is to say which of many photographs a window is from. Windows to learn from are from the left part of each
photograph, those to test on from the right part: what is alike is materials, light and colours, not the objects.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rarefy.codecs.media import as_image

LEFT, RIGHT = 0.55, 0.6  # of the width: where the windows to learn from end, and where those to test on begin
WIDTH = 24
EPOCHS, BATCH, RATE, DECAY = 10, 64, 2e-3, 0.05

Inputs = Callable[[int], Tensor]  # of an epoch: float32 [N, ...], one for each label


class Windows(NamedTuple):
    """pixels: uint8 [N, side, side, 3]; labels: int64 [N], the photograph of each."""

    pixels: Tensor
    labels: Tensor


def windows(paths: Sequence[Path], count: int, side: int, *, is_test: bool, seed: int = 0) -> Windows:
    """Cut `count` windows out of each photograph, at random places of its left or right part."""
    source = np.random.default_rng([seed, is_test])
    cut = []
    for path in paths:
        picture = as_image(path, warns=False)
        pixels = np.broadcast_to(picture.pixels, (picture.height, picture.width, 3))
        first, end = (int(RIGHT * picture.width), picture.width) if is_test else (0, int(LEFT * picture.width))
        if end - first < side or picture.height < side:
            raise SystemExit(f"{path}: has no windows of {side} pixels in both parts")
        for _ in range(count):
            x, y = int(source.integers(first, end - side + 1)), int(source.integers(picture.height - side + 1))
            cut.append(np.ascontiguousarray(pixels[y : y + side, x : x + side]))
    return Windows(torch.from_numpy(np.stack(cut)), torch.arange(len(paths)).repeat_interleave(count))


def large_enough(folder: Path, count: int, side: int) -> list[Path]:
    """The first photographs of a folder, by name, that have windows in both parts."""
    found = []
    for path in sorted(folder.glob("*.*")):
        if path.suffix.lower() not in (".avif", ".jpg", ".png", ".webp"):
            continue
        picture = as_image(path, warns=False)
        if min(picture.height, int((1 - RIGHT) * picture.width), int(LEFT * picture.width)) >= side:
            found.append(path)
        if len(found) == count:
            return found
    raise SystemExit(f"{folder}: {len(found)} photographs are large enough, {count} are wanted")


def crops(inputs: Tensor, height: int, step: int, epoch: int, seed: int) -> Tensor:
    """A random square [N, C, height, height] of each input, at multiples of `step`."""
    source = torch.Generator().manual_seed(seed * 1000 + epoch)
    places = (inputs.shape[-1] - height) // step + 1
    chosen = torch.randint(places, (len(inputs), 2), generator=source) * step
    return torch.stack(
        [one[:, y : y + height, x : x + height] for one, (y, x) in zip(inputs, chosen.tolist(), strict=True)]
    )


def middle(inputs: Tensor, height: int) -> Tensor:
    """The square in the middle."""
    first = (inputs.shape[-1] - height) // 2
    return inputs[..., first : first + height, first : first + height]


class Residual(nn.Module):
    """Two layers around which the input goes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_layer(width, width), *_layer(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 [B, width, h, w]."""
        out: Tensor = x + self.layers(x)
        return out


def _layer(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def network(channels: int, kernel: int, stride: int, classes: int) -> nn.Module:
    """The same network behind a first layer that brings inputs to 16x16 positions."""
    first = nn.Conv2d(channels, WIDTH, kernel, stride, (kernel - stride) // 2)
    return nn.Sequential(
        nn.Sequential(nn.BatchNorm2d(channels), first, nn.ReLU()),
        *_layer(WIDTH, 2 * WIDTH, 2),
        Residual(2 * WIDTH),
        *_layer(2 * WIDTH, 3 * WIDTH, 2),
        Residual(3 * WIDTH),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3 * WIDTH, classes),
    )


def products(model: nn.Module, inputs: Tensor) -> int:
    """Multiplications of one sample's forward pass, in convolutions and the last layer."""
    total = 0

    def count(layer: nn.Module, _: object, out: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
            total += layer.weight.numel() * (out[0].numel() // out.shape[1])

    hooks = [layer.register_forward_hook(count) for layer in model.modules()]
    with torch.no_grad():
        model.eval()(inputs[:1])
    for hook in hooks:
        hook.remove()
    return total


def accuracies(
    make: Callable[[], nn.Module],
    inputs: Callable[[int, int], Tensor],
    labels: Tensor,
    tests: Tensor,
    test_labels: Tensor,
    seeds: int,
) -> list[float]:
    """The accuracy of a network trained from each seed; inputs: of a seed and an epoch."""
    found = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        found.append(accuracy(make(), partial(inputs, seed), labels, tests, test_labels))
    return found


def accuracy(
    model: nn.Module, inputs: Inputs, labels: Tensor, tests: Tensor, test_labels: Tensor, epochs: int | None = None
) -> float:
    """Train a network, for EPOCHS without `epochs`; return the share of the tests that it gets right at the end."""
    layout = torch.channels_last if tests.ndim == 4 else torch.contiguous_format  # of pictures, and of sounds
    model = model.to(memory_format=layout)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    epochs = epochs or EPOCHS
    steps = epochs * (len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for epoch in range(epochs):
        model.train()
        x, order = inputs(epoch), torch.randperm(len(labels))
        for some in order[: len(labels) // BATCH * BATCH].split(BATCH):
            scores = model(x[some].contiguous(memory_format=layout))
            loss = nn.functional.cross_entropy(scores, labels[some], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        right = sum(
            int((model(x).argmax(1) == y).sum())
            for x, y in zip(tests.split(BATCH), test_labels.split(BATCH), strict=True)
        )
    return right / len(test_labels)


def spread(values: Sequence[float]) -> str:
    """Mean and deviation over seeds, in percent."""
    return f"{100 * mean(values):.1f} ± {100 * stdev(values):.1f}"
