"""The trainer: recipes read strictly, patches that cover what they should, steps that learn, exact resumption."""

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from rarefy.codecs.folders import held, hold
from rarefy.codecs.registry import build
from rarefy.codecs.weights import candidates, load_codec
from rarefy.entropy.lattice import Lattice
from rarefy.entropy.likelihood import ROUNDINGS, log_probability, soft_slope
from rarefy.errors import MediaError, OptionError, RarefyWarning, WeightsError
from rarefy.models.layers import PartialBlock
from rarefy.tools.checkpoint import start_from, write_weights
from rarefy.tools.evaluate import evaluate_held_back, read_pixels
from rarefy.tools.parts import choose_gradients, part_of
from rarefy.tools.patches import Patches, is_held_back, picture_files, read_scales
from rarefy.tools.recipe import Recipe, read_recipe
from rarefy.tools.replayed import Replayed
from rarefy.tools.train import Trainer, averaged, build_model, rate_distortion, run, save, stratified
from rarefy.tools.train_command import main as train_main
from rarefy.tools.training_log import COLUMNS, Log
from rarefy.tools.weights import _as_bfloat16, cost, whole_squares
from rarefy.tools.weights import main as weights_main

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
TINY = """
codec = "image"
[model]
latents = 16
fine = 16
fine_blocks = 1
coarse = 16
coarse_blocks = 1
width = 16
hyper = 8
lambda_low = 4e-4
lambda_high = 0.4
[data]
patch = 64
scales = [1.0, 0.5]
drawn = 0.1
held_back_one_in = 7
[train]
batch = 4
minutes = 0.05
warmup_steps = 2
decay_from = 0.5
adam = 1e-3
muon = 5e-3
muon_every = 2
clip = 2.0
ema = 0.99
weight_power = -0.4
cost_power = 1.0
gradients = "straight"
paid = [1.0, 1.0]
part = "all"
seed = 5
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """A recipe of a codec that trains in seconds."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small generated pictures: smooth, with edges, of several sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    source = np.random.default_rng(3)
    for number, (height, width) in enumerate([(64, 96), (80, 150), (130, 140), (63, 200)] * 3):
        rows, columns = np.mgrid[:height, :width]
        planes = [np.sin(rows / a + c) + np.sign(np.sin(columns / b)) for a, b, c in source.uniform(3, 20, (3, 3))]
        pixels = np.clip(128 + 50 * np.stack(planes, -1) + source.normal(0, 4, (height, width, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def patches_of(recipe: Recipe, folder: Path) -> Patches:
    """The pool of a recipe."""
    files = picture_files([folder], recipe.data.held_back_one_in, held_back=False)
    return Patches(files, recipe.data.patch, recipe.data.scales, CPU, drawn=recipe.data.drawn)


def trainer_of(recipe: Recipe, folder: Path) -> Trainer:
    """A fresh trainer."""
    patches = patches_of(recipe, folder)
    return Trainer(recipe, patches, build_model(recipe, patches, CPU), compile_model=False)


def test_the_shipped_recipe_builds_the_shipped_sizes() -> None:
    recipe = read_recipe(ROOT / "recipes/image.toml", [])
    config = build(recipe.codec, recipe.model).config
    if candidates("image"):
        assert config == load_codec("image").config
    deeper = {"more_fine_blocks", "more_coarse_blocks"}  # than by default: weights of before name no such sizes
    assert {k for k, v in asdict(config).items() if v != getattr(build("image", {}).config, k)} == deeper
    assert recipe.data.patch % 64 == 0 and recipe.train.seed == 1


def test_overrides_are_toml(recipe_file: Path) -> None:
    recipe = read_recipe(recipe_file, ["train.minutes=2.5", "data.scales=[1.0]", "model.latents = 32"])
    assert (recipe.train.minutes, recipe.data.scales, recipe.model["latents"]) == (2.5, (1.0,), 32)


WRONG_RECIPES = {
    "an unknown key": TINY + "bacth = 3\n",
    "a missing key": TINY.replace("clip = 2.0\n", ""),
    "an unknown section": TINY + "[training]\nbatch = 3\n",
    "no data": TINY.replace("[data]", "[date]"),
    "no TOML": "codec: image",
    "a key twice": TINY + "seed = 6\n",
}


@pytest.mark.parametrize("name", WRONG_RECIPES)
def test_wrong_recipes_are_told(name: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(WRONG_RECIPES[name])
    with pytest.raises(OptionError, match=r"wrong\.toml"):
        read_recipe(path, [])


@pytest.mark.parametrize(
    "override",
    [
        "train.minutes",
        "train.minuts=3",
        "minutes=3",
        "train.minutes=soon",
        "x.y=1",
    ],
)
def test_wrong_overrides_are_told(recipe_file: Path, override: str) -> None:
    with pytest.raises(OptionError, match=r"tiny\.toml"):
        read_recipe(recipe_file, [override])


def test_wrong_sizes_of_models_are_told() -> None:
    with pytest.raises(OptionError, match="wrong model settings"):
        build("image", {"latent": 16})


# Of the first 40 names, one in 7. Recorded: a run that goes on must never train on what was held back before.
HELD_BACK = (1, 10, 13)


def test_held_back_is_a_property_of_the_name(tmp_path: Path) -> None:
    names = [f"picture-{number}.png" for number in range(700)]
    held_back = [name for name in names if is_held_back(name, 7)]
    assert 60 < len(held_back) < 140
    for folder in ("a", "b/c"):
        (tmp_path / folder).mkdir(parents=True)
    for name in (*names[:40], "notes.txt", "PICTURE.JPG"):
        (tmp_path / ("a" if len(name) % 2 else "b/c") / name).touch()
    inside = picture_files([tmp_path], 7, held_back=False)
    outside = picture_files([tmp_path], 7, held_back=True)
    assert {path.name for path in outside} == {f"picture-{number}.png" for number in HELD_BACK}
    assert {path.name for path in inside} | {path.name for path in outside} == {*names[:40], "PICTURE.JPG"}
    assert not {path.name for path in inside} & {path.name for path in outside}
    assert picture_files([tmp_path], 0, held_back=True) == []


def numbered(tmp_path: Path, height: int, width: int) -> Path:
    """A picture whose pixels tell where they come from: red the column, green the row."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([columns, rows, np.full_like(rows, 200)], -1).astype(np.uint8)
    path = tmp_path / f"{height}x{width}.png"
    Image.fromarray(pixels).save(path)
    return path


def test_a_picture_in_two_of_the_folders_counts_once(pictures: Path) -> None:
    once = picture_files([pictures], 7, held_back=False)
    for folders in ([pictures, pictures], [pictures, pictures / ".."], [pictures.parent, pictures]):
        names = [p.name for p in picture_files(folders, 7, held_back=False) if p.resolve().parent == pictures.resolve()]
        assert names == [p.name for p in once]


def test_patches_are_parts_of_pictures_in_all_eight_poses(tmp_path: Path) -> None:
    size, height, width = 8, 12, 20
    patches = Patches([numbered(tmp_path, height, width)], size, (1.0,), CPU)
    drawn = patches.draw(600, torch.Generator().manual_seed(1)).long()
    assert drawn.shape == (600, 3, size, size) and bool((drawn[:, 2] == 200).all())
    poses, corners = set(), set()
    for column, row in zip(drawn[:, 0], drawn[:, 1], strict=True):
        left, top = int(column.min()), int(row.min())
        x, y = column - left, row - top
        is_turned = bool(x[0, 0] == x[0, 1])
        if is_turned:
            x, y = x.T, y.T
        ramp = torch.arange(size)
        is_flipped_across, is_flipped_down = bool(x[0, 0]), bool(y[0, 0])
        assert torch.equal(x, (ramp.flip(0) if is_flipped_across else ramp).expand(size, size))
        assert torch.equal(y, (ramp.flip(0) if is_flipped_down else ramp)[:, None].expand(size, size))
        poses.add((is_turned, is_flipped_across, is_flipped_down))
        corners.add((top, left))
    assert len(poses) == 8
    assert corners == {(top, left) for top in range(height - size + 1) for left in range(width - size + 1)}


def test_pictures_are_drawn_by_their_area(tmp_path: Path) -> None:
    paths = []
    for value, (height, width) in enumerate([(16, 16), (16, 48), (32, 32)]):
        paths.append(tmp_path / f"{value}.png")
        Image.new("RGB", (width, height), (value, value, value)).save(paths[-1])
    patches = Patches(paths, 16, (1.0,), CPU)
    drawn = patches.draw(4000, torch.Generator().manual_seed(2))
    assert patches.megapixels == pytest.approx((256 + 768 + 1024) / 1e6)
    assert bool((drawn.flatten(1).amin(1) == drawn.flatten(1).amax(1)).all()), "a patch reaches into another picture"
    shares = [float((drawn[:, 0, 0, 0] == value).float().mean()) for value in range(3)]
    assert shares == pytest.approx([0.125, 0.375, 0.5], abs=0.03)


def test_scales_below_the_patch_are_left_out(tmp_path: Path) -> None:
    path = numbered(tmp_path, 100, 64)
    assert [a.shape for a in read_scales(path, (1.0, 0.75, 0.5), 48)] == [(100, 64, 3), (75, 48, 3)]
    with pytest.raises(MediaError, match="shorter side"):
        Patches([path], 65, (1.0, 0.5), CPU)
    with pytest.raises(MediaError):
        Patches([], 8, (1.0,), CPU)


def test_two_workers_read_the_same_pool(pictures: Path) -> None:
    files = picture_files([pictures], 0, held_back=False)
    one, two = (Patches(files, 64, (1.0, 0.5), CPU, workers=workers) for workers in (1, 2))
    assert torch.equal(one.pixels, two.pixels) and torch.equal(one.starts, two.starts)


def test_qualities_are_one_of_each_part() -> None:
    generator = torch.Generator().manual_seed(3)
    for _ in range(20):
        drawn = stratified(8, CPU, generator)
        assert sorted((drawn * 8).long().tolist()) == list(range(8))
    assert len({tuple((stratified(8, CPU, generator) * 8).long().tolist()) for _ in range(20)}) > 15


def test_an_untrained_codec_is_a_linear_transform_codec(recipe_file: Path, pictures: Path) -> None:
    """Principal components: orthonormal, so that the picture comes back as well as 16 latents allow."""
    recipe = read_recipe(recipe_file, ["model.fine=192", "model.coarse=768", "model.latents=768"])
    patches = patches_of(recipe, pictures)
    model = build_model(recipe, patches, CPU)
    x = patches.draw(2, torch.Generator().manual_seed(9)).float() / 255
    with torch.no_grad():
        torch.testing.assert_close(model.g_s(model.g_a(x)), x, atol=2e-4, rtol=0)


def test_steps_learn_and_move_everything(recipe_file: Path, pictures: Path) -> None:
    recipe = read_recipe(recipe_file, ["train.adam=4e-3"])
    trainer = trainer_of(recipe, pictures)
    with torch.no_grad():
        trainer.model.g_s.last.bias.add_(0.06)  # principal components leave little to learn in a few steps
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    pixels = trainer.patches.draw(8, torch.Generator().manual_seed(7))
    position = stratified(8, CPU, torch.Generator().manual_seed(8))

    def loss() -> float:
        with torch.no_grad():
            return float(rate_distortion(trainer.model, pixels, position, trainer.powers)[0])

    first = loss()
    for _ in range(16):
        value, facts, norm = trainer.train_step(1.0)
        assert all(bool(torch.isfinite(t).all()) for t in (value, facts, norm))
    assert loss() < 0.8 * first
    still = [name for name, p in trainer.model.named_parameters() if torch.equal(p, before[name])]
    assert not still, f"never moved: {still}"


def test_the_loss_is_a_power_of_the_cost(recipe_file: Path, pictures: Path) -> None:
    trainer = trainer_of(read_recipe(recipe_file, []), pictures)
    pixels, position = trainer.patches.draw(2, trainer.generator), torch.tensor([0.3, 0.6])
    with torch.no_grad():
        each = zip(pixels.split(1), position.split(1), strict=True)
        costs = torch.stack([rate_distortion(trainer.model, x, p, (0.0, 1.0))[0] for x, p in each])
        root, _ = rate_distortion(trainer.model, pixels, position, (0.0, 0.5))
        weighted, _ = rate_distortion(trainer.model, pixels, position, (-0.4, 0.5))
        multiplier = trainer.model.rate_multiplier(position)
    torch.testing.assert_close(root, costs.sqrt().mean())
    weights = (multiplier / multiplier.prod().sqrt()) ** -0.4
    torch.testing.assert_close(weighted, (weights * costs.sqrt()).mean())


def test_gradients_know_the_borders_of_rounding() -> None:
    straight, soft = ROUNDINGS["straight"], ROUNDINGS["soft"]
    at = torch.tensor([-1.499, -0.5001, -0.1, 0.0, 0.1, 0.4999, 1.0, 2.3])
    scale = torch.full_like(at, 3.0)

    def slopes(function: Callable[[Tensor], Tensor]) -> Tensor:
        v = at.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(function(v).sum(), v)
        return slope

    mean = torch.linspace(-0.4, 0.9, len(at))
    for a, b in zip(straight, soft, strict=True):
        arguments = {straight.bits: (at, scale), straight.bits_around: (at, mean, scale)}.get(a, (at,))
        torch.testing.assert_close(a(*arguments), b(*arguments))
    assert (slopes(straight.symbols) == 1).all()
    weights = slopes(soft.symbols)
    assert weights[[0, 1, 5]].min() > 1.65 and weights[[3, 6]].max() < 0.31
    bits = [float(soft.bits(torch.tensor([n]), scale[:1])) for n in (0.0, 1.0)]
    assert float(slopes(lambda v: soft.bits(v, scale))[5]) == pytest.approx(float(weights[5]) * (bits[1] - bits[0]))
    magnitudes = slopes(soft.magnitudes)  # at zero a magnitude has no slope, and yet one changes it
    assert slopes(straight.magnitudes)[4] == 0
    assert float(magnitudes[4]) == pytest.approx(float(weights[4]) * math.asinh(1), rel=1e-5)
    assert float(magnitudes[2]) == pytest.approx(-float(weights[2]) * math.asinh(1), rel=1e-5)
    sizes = slopes(soft.sizes)
    assert slopes(straight.sizes)[4] == 0 and float(sizes[4]) == pytest.approx(float(weights[4]))


def test_gradients_of_bits_around_a_mean() -> None:
    """The value pays what the integers above and below differ by; the mean pays as it does straight through."""
    at, mean, scale = torch.tensor([0.1, 0.4999, -2.3]), torch.tensor([0.3, -0.2, -2.0]), torch.full((3,), 4.0)
    for name in ("straight", "soft"):
        v, m, s = (t.clone().requires_grad_(True) for t in (at, mean, scale))
        by_value, by_mean, by_scale = torch.autograd.grad(ROUNDINGS[name].bits_around(v, m, s).sum(), (v, m, s))
        found = {"value": by_value, "mean": by_mean, "scale": by_scale}
        if name == "straight":
            straight = found
    bits = [log_probability(at.floor() + n - mean, scale) / -math.log(2) for n in (0, 1)]
    torch.testing.assert_close(found["value"], (bits[1] - bits[0]) * soft_slope(at))
    torch.testing.assert_close(straight["value"], -straight["mean"])
    for name in ("mean", "scale"):
        torch.testing.assert_close(found[name], straight[name])


@pytest.mark.parametrize("axes", [1, 2])
def test_a_lattice_with_soft_gradients_has_the_same_values(axes: int) -> None:
    torch.manual_seed(0)
    lattice = Lattice(4, axes=axes, lambdas=(1e-3, 0.2))
    lattice.start_from(torch.tensor([3.0, 1.0, 0.5, 0.2]))
    with torch.no_grad():
        for weight in (lattice.scales, lattice.means, lattice.scales_across):
            weight.add_(0.02 * torch.rand(weight.shape))
    y, position = torch.randn(2, 4, *[24] * axes), torch.tensor([0.3, 0.9])
    values, slopes = [], []
    for rounding in ("straight", "soft"):
        lattice.rounding = rounding
        latents = y.clone().requires_grad_(True)
        y_hat, bits = lattice(latents, position)
        values.append((y_hat.detach(), bits.detach()))
        slopes.append(torch.autograd.grad(bits.sum(), latents)[0])
    torch.testing.assert_close(values[0], values[1])
    assert not torch.allclose(slopes[0], slopes[1])
    with torch.no_grad():  # a step against either gradient costs fewer bits
        for slope in slopes:
            assert lattice(y - 0.3 * slope, position)[1].sum() < values[0][1].sum()


def test_steps_with_soft_gradients_learn(recipe_file: Path, pictures: Path) -> None:
    trainer = trainer_of(read_recipe(recipe_file, ["train.adam=4e-3", 'train.gradients="soft"']), pictures)
    with torch.no_grad():
        trainer.model.g_s.last.bias.add_(0.06)
    pixels, position = trainer.patches.draw(8, trainer.generator), torch.linspace(0, 1, 8)

    def loss() -> float:
        with torch.no_grad():
            return float(rate_distortion(trainer.model, pixels, position, trainer.powers)[0])

    first = loss()
    for _ in range(16):
        trainer.train_step(1.0)
    assert loss() < 0.8 * first


def test_gradients_that_there_are_not_are_refused(recipe_file: Path) -> None:
    with pytest.raises(OptionError, match="is one of straight, soft"):
        read_recipe(recipe_file, ['train.gradients="hard"'])
    for paid in ("1.0", "[1.0]", "[1.0, -1.0]"):
        with pytest.raises(OptionError, match="two numbers above 0"):
            read_recipe(recipe_file, [f"train.paid={paid}"])
    with pytest.raises(OptionError, match='has no gradients "soft"'):
        choose_gradients(torch.nn.Linear(2, 2), "soft")
    codec = build("walloc-audio", {})
    choose_gradients(codec, "soft")
    assert [part.bottleneck.rounding for part in (codec.stereo, codec.mono)] == ["soft", "soft"]


def test_what_is_paid_for_error_changes_along_the_quality(recipe_file: Path, pictures: Path) -> None:
    trainer = trainer_of(read_recipe(recipe_file, []), pictures)
    pixels = trainer.patches.draw(1, trainer.generator)
    with torch.no_grad():
        for q in (0.0, 0.25, 1.0):
            position = torch.tensor([q])
            plain, facts = rate_distortion(trainer.model, pixels, position, (0.0, 1.0))
            more, _ = rate_distortion(trainer.model, pixels, position, (0.0, 1.0), "all", (3.0, 1.0))
            torch.testing.assert_close(more - facts[0], (3 - 2 * q) * (plain - facts[0]))


@pytest.mark.parametrize(("part", "rate"), [("entropy", 2e-2), ("synthesis", 4e-3)])
def test_a_part_learns_alone(recipe_file: Path, pictures: Path, part: str, rate: float) -> None:
    recipe = read_recipe(recipe_file, [f'train.part="{part}"', f"train.adam={rate}"])
    trainer = trainer_of(recipe, pictures)
    with torch.no_grad():  # principal components leave little to learn in a few steps
        trainer.model.g_s.last.bias.add_(0.06)
        trainer.model.bottleneck.scale_start.add_(6.0)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    pixels, position = trainer.patches.draw(16, trainer.generator), torch.linspace(0, 1, 16)

    def cost() -> float:
        with torch.no_grad():
            return float(rate_distortion(trainer.model, pixels, position, trainer.powers, part)[0])

    first = cost()
    for _ in range(16):
        trainer.train_step(1.0)
    assert cost() < 0.98 * first
    moved = {name for name, p in trainer.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if part_of(name) == part}
    assert len(trainer.optimisers) == 2
    if part == "entropy":  # what it pays is what the whole codec pays
        with torch.no_grad():
            torch.testing.assert_close(
                trainer.model.rate(pixels / 255, 100 * position), trainer.model(pixels / 255, 100 * position).bits
            )


@pytest.fixture
def walloc_file(tmp_path: Path) -> Path:
    """A recipe of a codec whose entropy model has no residual blocks."""
    path = tmp_path / "walloc.toml"
    model = TINY[TINY.index("[model]") : TINY.index("[data]")]
    sizes = "[model]\nlatents = 6\nwidth = 16\nblocks = 1\nlambda_low = 1e-3\nlambda_high = 0.2\n"
    path.write_text(TINY.replace(model, sizes).replace('"image"', '"walloc-image"'))
    return path


def test_parts_without_residual_blocks_learn_by_adam_alone(walloc_file: Path, pictures: Path, tmp_path: Path) -> None:
    trainer = trainer_of(read_recipe(walloc_file, ['train.part="entropy"']), pictures)
    assert [type(o) for o in trainer.optimisers] == [torch.optim.Adam]
    loss, facts, norm = trainer.train_step(1.0)
    assert all(bool(torch.isfinite(t).all()) for t in (loss, facts, norm)) and norm > 0
    save(trainer, tmp_path)
    trainer.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))


def test_parts_that_do_not_exist_are_told(recipe_file: Path) -> None:
    with pytest.raises(OptionError, match="all, entropy, synthesis"):
        read_recipe(recipe_file, ['train.part="analysis"'])


@pytest.mark.gpu
def test_a_recorded_step_is_the_plain_one(recipe_file: Path, pictures: Path) -> None:
    """As a CUDA graph and launched one by one, steps lead to the same weights."""
    recipe = read_recipe(recipe_file, [])
    device = torch.device("cuda")
    files = picture_files([pictures], recipe.data.held_back_one_in, held_back=False)
    patches = Patches(files, recipe.data.patch, recipe.data.scales, device, drawn=recipe.data.drawn)
    recorded, plain = (Trainer(recipe, patches, build_model(recipe, patches, device), False) for _ in range(2))
    plain.gradients = plain._gradients
    for _ in range(10):
        given = [trainer.train_step(1.0)[0] for trainer in (recorded, plain)]
        torch.testing.assert_close(given[0], given[1], rtol=2e-2, atol=0)
    assert isinstance(recorded.gradients, Replayed) and recorded.gradients.calls == 10
    for one, other in zip(recorded.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-2, atol=2e-3)


def test_gradients_that_are_not_finite_teach_nothing(recipe_file: Path, pictures: Path) -> None:
    trainer = trainer_of(read_recipe(recipe_file, ["train.muon_every=1"]), pictures)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    whole = trainer.loss_function
    trainer.loss_function = lambda *a: (lambda loss, facts: (loss * math.nan, facts))(*whole(*a))
    trainer.train_step(1.0)
    for parameter, old in zip(trainer.model.parameters(), before, strict=True):  # Muon's weight decay remains
        torch.testing.assert_close(parameter.detach(), old, rtol=6e-4, atol=0)
    assert float(trainer.norm) == 0
    trainer.loss_function = whole
    trainer.train_step(1.0)
    assert float(trainer.norm) > 0 and math.isfinite(float(trainer.norm))


def tensors_of(state: Any) -> list[Tensor]:
    """All tensors of a nested state, in order."""
    if isinstance(state, Tensor):
        return [state]
    values = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else []
    return [tensor for value in values for tensor in tensors_of(value)]


@pytest.mark.parametrize("at", [1, 2, 3])  # at 2 gradients wait for the second of Muon's steps
def test_a_run_resumes_exactly(recipe_file: Path, pictures: Path, tmp_path: Path, at: int) -> None:
    recipe = read_recipe(recipe_file, [])
    whole = trainer_of(recipe, pictures)
    for _ in range(4):
        whole.train_step(whole.schedule(1.0))
    first = trainer_of(recipe, pictures)
    for _ in range(at):
        first.train_step(first.schedule(1.0))
    save(first, tmp_path)
    second = trainer_of(recipe, pictures)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for _ in range(4 - at):
        second.train_step(second.schedule(1.0))
    expected, found = (tensors_of(trainer.state_dict()) for trainer in (whole, second))
    assert len(expected) == len(found) > 50
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert second.step == 4


def test_the_schedule_warms_up_stays_and_decays(recipe_file: Path, pictures: Path) -> None:
    trainer = trainer_of(read_recipe(recipe_file, ["train.warmup_steps=4"]), pictures)
    factors = []
    for trainer.step, trainer.seconds in ((0, 0.0), (1, 0.0), (9, 0.0), (9, 29.9), (9, 45.0), (9, 60.0), (9, 61.0)):
        factors.append(trainer.schedule(1.0))
    assert factors == pytest.approx([0.25, 0.5, 1, 1, 0.5, 0, 0])


def test_weights_of_a_run_come_back_in_pieces(recipe_file: Path, pictures: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_file, [])
    trainer = trainer_of(recipe, pictures)
    trainer.train_step(1.0)
    model = averaged(trainer)
    write_weights(model, tmp_path, 20_000)
    pieces = sorted(tmp_path.glob("weights-*.safetensors"))
    assert len(pieces) > 2
    fresh = build(recipe.codec, recipe.model)
    start_from(fresh, tmp_path)
    for (name, found), wanted in zip(fresh.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.equal(found, wanted.half().float()), name
    pieces[0].unlink()
    with pytest.raises(WeightsError, match="pieces of weights"):
        start_from(fresh, tmp_path)


def test_a_trained_network_grows_deeper_and_gives_what_it_gave(
    recipe_file: Path, pictures: Path, tmp_path: Path
) -> None:
    recipe = read_recipe(recipe_file, [])
    trainer = trainer_of(recipe, pictures)
    trainer.train_step(1.0)
    write_weights(trainer.model, tmp_path, 10**6)
    same, deeper = (build(recipe.codec, recipe.model | more) for more in ({}, {"more_fine_blocks": 2}))
    assert len(deeper.state_dict()) > len(same.state_dict())
    for model in (same, deeper):
        start_from(model, tmp_path, grow=True)
    x = torch.rand(1, 3, 64, 64)
    assert all(torch.equal(a, b) for a, b in zip(same(x, 50.0), deeper(x, 50.0), strict=True))
    with pytest.raises(WeightsError, match="do not fit"):  # wider is another network
        start_from(build(recipe.codec, recipe.model | {"coarse": 24}), tmp_path, grow=True)
    with pytest.raises(WeightsError, match="do not fit"):  # and an export takes what is there
        start_from(deeper, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="no weights"):
        start_from(deeper, tmp_path / "empty", grow=True)
    kept = {k: v for k, v in same.state_dict().items() if not k.startswith("bottleneck.means.contexts")}
    save_file(kept, tmp_path / "weights-0.safetensors")
    with pytest.raises(WeightsError, match="do not fit"):  # an entropy model does not grow
        start_from(deeper, tmp_path, grow=True)


@torch.no_grad()
def test_an_export_rounds_what_bfloat16_would_round_anyway(recipe_file: Path, pictures: Path, tmp_path: Path) -> None:
    """Decoders in float32 and in bfloat16 then multiply with the same weights; small ones survive 16-bit floats too."""
    model = trainer_of(read_recipe(recipe_file, []), pictures).model
    for number, parameter in enumerate(model.g_s.parameters()):
        torch.nn.init.normal_(parameter, std=10.0 ** -(number % 7))
    _as_bfloat16(model)
    blocks = [m for m in model.g_s.modules() if isinstance(m, PartialBlock)]
    assert len(blocks) == 2 and not torch.equal(model.g_s.last.weight, model.g_s.last.weight.bfloat16().float())
    for parameter in (p for block in blocks for p in block.parameters()):
        stored = parameter.half().float()
        assert torch.equal(stored, stored.bfloat16().float()) and stored.isfinite().all()


def test_signals_are_the_callers_again_behind_a_run(recipe_file: Path, pictures: Path, tmp_path: Path) -> None:
    """What comes behind it, such as the evaluation, can be interrupted."""
    ours = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in ours]
    trainer = trainer_of(read_recipe(recipe_file, ["train.minutes=0.001"]), pictures)
    assert run(trainer, tmp_path, log_seconds=60, save_seconds=60) == 0
    assert [signal.getsignal(number) for number in ours] == before


@pytest.mark.parametrize(
    ("height", "width", "wanted"),
    [(290, 300, (256, 256)), (40, 500, (64, 384)), (64, 64, (64, 64)), (384, 400, (384, 384))],
)
def test_calibration_takes_pictures_of_any_size(height: int, width: int, wanted: tuple[int, int]) -> None:
    pixels = torch.randint(0, 255, (1, 3, height, width), dtype=torch.uint8)
    x = whole_squares(pixels)
    assert x.shape[2:] == wanted and x.max() <= 1
    seen = min(height, wanted[0])
    torch.testing.assert_close(x[:, :, :seen], pixels[:, :, :seen, : wanted[1]].float() / 255)


def test_pictures_are_read_as_codecs_see_them(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64 * 64, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(ramp).save(tmp_path / "gray.png")
    for pixels in (read_scales(tmp_path / "gray.png", (1.0,), 64)[0], read_pixels(tmp_path / "gray.png").numpy()):
        assert abs(float(pixels.mean()) - 127.5) < 1
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (80, 64)).save(tmp_path / "turned.jpg", exif=turned)
    assert read_pixels(tmp_path / "turned.jpg").shape == (1, 3, 80, 64)


@pytest.mark.parametrize("workers", [1, 2])
def test_damaged_pictures_are_left_out_and_said(
    pictures: Path, tmp_path: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = pictures / "2.png"
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:200])
    (tmp_path / "text.jpg").write_text("no picture")
    files = [tmp_path / "cut.png", whole, tmp_path / "text.jpg"]
    patches = Patches(files, 64, (1.0,), CPU, workers=workers)
    assert len(patches.ends) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and str(files[0]) in told[0] and str(files[2]) in told[1]
    assert all(line.startswith("rarefy: warning: ") and line.endswith(": left out") for line in told)
    with pytest.raises(MediaError):
        read_pixels(tmp_path / "cut.png")


def test_an_export_is_measured_on_pictures_of_any_size(tmp_path: Path) -> None:
    codec = load_codec("image") if candidates("image") else pytest.skip("no weights")
    Image.new("RGB", (300, 40), "red").save(tmp_path / "small.png")
    rows = cost(codec, codec, [tmp_path / "small.png"])
    assert all(row["ideal_bits"] > 0 and row["coded_bits"] > 0 for row in rows)


def test_pieces_of_an_earlier_run_do_not_stay(recipe_file: Path, pictures: Path, tmp_path: Path) -> None:
    model = trainer_of(read_recipe(recipe_file, []), pictures).model
    write_weights(model, tmp_path, 20_000)
    assert len(list(tmp_path.glob("weights-*.safetensors"))) > 1
    write_weights(model, tmp_path, 10**9)
    assert [path.name for path in tmp_path.glob("weights-*")] == ["weights-0.safetensors"]
    (tmp_path / "weights-mine.safetensors").touch()
    write_weights(model, tmp_path, 10**9)
    assert (tmp_path / "weights-mine.safetensors").exists()
    start_from(model, tmp_path)
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "weights-0.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask


def test_what_does_not_fit_is_told_in_a_sentence(recipe_file: Path, pictures: Path, tmp_path: Path) -> None:
    write_weights(trainer_of(read_recipe(recipe_file, []), pictures).model, tmp_path, 10**9)
    other = trainer_of(read_recipe(recipe_file, ["model.width=24"]), pictures).model
    with pytest.raises(WeightsError, match="do not fit the recipe: ") as caught:
        start_from(other, tmp_path)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


def test_means_of_other_lambdas_are_refused(recipe_file: Path, pictures: Path, tmp_path: Path) -> None:
    for name, override in (("a", []), ("b", ["model.lambda_high=0.1"]), ("c", [])):
        recipe = read_recipe(recipe_file, override)
        (tmp_path / name).mkdir()
        write_weights(trainer_of(recipe, pictures).model, tmp_path / name, 10**9)
        (tmp_path / name / "recipe.json").write_text(json.dumps(asdict(recipe)))
    line = ["mean", str(tmp_path / "a"), str(tmp_path / "b"), "--share", "0.5", "-o", str(tmp_path / "m")]
    with pytest.raises(WeightsError, match=r"lambda_high 0\.1, not 0\.4"):
        weights_main(line)
    line[2] = str(tmp_path / "c")
    assert weights_main(line) == 0


@pytest.mark.parametrize(
    "override",
    [
        "train.batch=0",
        "train.batch=1.5",
        'train.minutes="x"',
        "train.muon_every=0",
        "train.warmup_steps=0",
        "train.decay_from=1",
        "train.adam=-1",
        "train.seed=true",
        "data.drawn=1.0",
        "data.patch=32",
    ],
)
def test_numbers_that_no_training_has_are_told(recipe_file: Path, override: str) -> None:
    with pytest.raises(OptionError, match=rf"{override.partition('=')[0].split('.')[1]} is a"):
        read_recipe(recipe_file, [override])


def test_devices_that_are_not_here_are_told(recipe_file: Path, pictures: Path, tmp_path: Path) -> None:
    for more in (
        ["--device", "foo"],
        ["--threads", "0"],
        *([] if torch.cuda.is_available() else [["--device", "cuda"]]),
    ):
        with pytest.raises(OptionError):
            train_main(command(recipe_file, pictures, tmp_path / "out", *more)[4:])


def test_two_trainings_do_not_share_a_folder(recipe_file: Path, pictures: Path, tmp_path: Path) -> None:
    line = command(recipe_file, pictures, tmp_path / "out", "--set", "train.minutes=0.001")[4:]
    (tmp_path / "out").mkdir()
    lock = hold(tmp_path / "out", "training")
    with pytest.raises(OptionError, match="another process is training there"):
        train_main(line)
    os.close(lock)
    assert train_main(line) == 0
    assert train_main(line) == 0  # goes on from its end


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with pytest.warns(RarefyWarning, match="no locks here"), held(tmp_path / "out", "training"):
        assert (tmp_path / "out").is_dir()


def test_a_log_goes_on_where_the_state_does(tmp_path: Path) -> None:
    for step in (15, 30, 46):
        Log(tmp_path, step).add(dict.fromkeys(COLUMNS, 0.0) | {"step": step})
    Log(tmp_path, 40)
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "15", "30"]
    with (tmp_path / "log.csv").open("a") as file:
        file.write("\n31,2\n4")  # a full disk
    log = Log(tmp_path, 1_234_567)
    log.add(dict.fromkeys(COLUMNS, 1.0) | {"step": 1_234_567})
    log.plot()
    rows = Log(tmp_path, 1_234_567).path.read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "15", "30", "1234567"]


def test_a_terminal_that_has_gone_costs_no_training(
    recipe_file: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("sys.stderr.write", gone)
    trainer = trainer_of(read_recipe(recipe_file, ["train.minutes=0.001"]), pictures)
    assert run(trainer, tmp_path, log_seconds=0, save_seconds=60) == 0
    assert (tmp_path / "state.pt").exists()


def test_held_back_pictures_that_are_damaged_are_left_out(
    recipe_file: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = trainer_of(read_recipe(recipe_file, []), pictures).model.eval()
    shutil.copy(pictures / "2.png", tmp_path / "2.png")
    whole = evaluate_held_back(model, [tmp_path], 1)
    (tmp_path / "cut.png").write_bytes((pictures / "2.png").read_bytes()[:200])
    assert evaluate_held_back(model, [tmp_path], 1) == whole
    assert "cut.png" in capsys.readouterr().err


def test_names_that_are_no_text_have_a_side_too() -> None:
    names = [os.fsdecode(bytes([255, 97 + number]) + b".png") for number in range(26)]
    assert {is_held_back(name, 2) for name in names} == {False, True}


def test_qualities_out_of_range_are_refused(recipe_file: Path, pictures: Path) -> None:
    model = trainer_of(read_recipe(recipe_file, []), pictures).model
    x = torch.rand(2, 3, 64, 64)
    for quality in (-50.0, 500.0, [50.0, 101.0], math.nan):
        with pytest.raises(OptionError, match="from 0 to 100"):
            model(x, quality)
    assert model(x, [0.0, 100.0]).bits.shape == (2,)


def command(recipe: Path, pictures: Path, out: Path, *more: str) -> list[str]:
    """`rarefy train` as its user starts it."""
    arguments = ["train", str(recipe), "--data", str(pictures), "--out", str(out), "--device", "cpu", *more]
    return [sys.executable, "-m", "rarefy", *arguments]


def test_a_stopped_run_dies_of_its_signal_after_a_save(recipe_file: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    line = command(recipe_file, pictures, out, "--log-seconds", "0.1", "--set", "train.minutes=10")
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    log, deadline = out / "log.csv", time.monotonic() + 120
    while not (log.exists() and len(log.read_text().splitlines()) > 1):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, words = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM and "the same command goes on" in words
    assert (out / "state.pt").exists()


@pytest.mark.slow
def test_a_stopped_run_goes_on_and_ends(recipe_file: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    line = command(recipe_file, pictures, out, "--log-seconds", "0.2")
    process = subprocess.Popen([*line, "--set", "train.minutes=10"], stderr=subprocess.PIPE, text=True)
    log, deadline = out / "log.csv", time.monotonic() + 120
    while not (log.exists() and len(log.read_text().splitlines()) > 2):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, words = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM and "the same command goes on" in words
    assert sorted(os.listdir(out)) == ["curve.svg", "log.csv", "recipe.json", "state.pt"]
    steps = torch.load(out / "state.pt", weights_only=True)["step"]
    assert steps > 2
    done = subprocess.run([*line, "--set", "train.minutes=0.001"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "complete" in done.stderr, done.stderr
    assert (out / "weights-0.safetensors").exists()
    held_back = json.loads((out / "held-back.json").read_text())
    rates = [row["bits_per_pixel"] for row in held_back]
    assert len(rates) == 7 and all(math.isfinite(rate) and rate > 0 for rate in rates)
    assert torch.load(out / "state.pt", weights_only=True)["step"] == steps
