"""More latents for a trained codec: what was there stays, and what is added codes what was left over."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from rarefy.codecs.image import ImageCodec, ImageConfig
from rarefy.codecs.registry import build
from rarefy.errors import OptionError, WeightsError
from rarefy.tools.checkpoint import start_from, write_weights
from rarefy.tools.parts import choose
from rarefy.tools.train import optimisers, rate_distortion
from rarefy.tools.train_command import main as train
from rarefy.tools.weights import export, main
from rarefy.tools.widen import added, widen

SIZES = {"latents": 16, "fine": 16, "fine_blocks": 1, "coarse": 16, "coarse_blocks": 1, "width": 16, "hyper": 8}
WIDER = SIZES | {"latents": 24}
KEPT = [i for i in range(24) if i % 6 < 4]  # quarters of four and two more
NEW = [i for i in range(24) if i % 6 >= 4]


def textures(count: int, seed: int = 0) -> Tensor:
    """Patches of six patterns in squares of 8x8, of which 16 latents hold four: float [count, 3, 64, 64] in 0..1."""
    patterns = np.linalg.qr(np.random.default_rng(7).normal(0, 1, (192, 6)))[0].T.reshape(6, 3, 8, 8)
    strengths = np.array([1.0, 0.9, 0.8, 0.7, 0.35, 0.3])[:, None, None]
    drawn = np.random.default_rng(seed).normal(0, 1, (count, 6, 8, 8)) * strengths
    squares = np.einsum("npyx,pcij->ncyixj", drawn, patterns).reshape(count, 3, 64, 64)
    return torch.from_numpy(np.clip(0.5 + squares, 0, 1)).float()


def trained() -> ImageCodec:
    """A small codec whose networks say something: principal components, then a few steps of everything.

    Its pictures are a little too bright, so that what is left over has a mean.
    """
    torch.manual_seed(1)
    codec = ImageCodec(ImageConfig(**SIZES))
    codec.start(textures(64))
    used = optimisers(codec, 1e-3, 5e-3)
    for step in range(6):
        position = torch.linspace(0, 1, 8)
        loss, _ = rate_distortion(codec, (255 * textures(8, step)).to(torch.uint8), position, (-0.4, 1.0))
        loss.backward()
        for optimiser in used:
            optimiser.step()
            optimiser.zero_grad()
    with torch.no_grad():
        assert codec.g_s.last.bias is not None
        codec.g_s.last.bias += 0.01
    return codec.eval()


@pytest.fixture(scope="module")
def pair() -> tuple[ImageCodec, ImageCodec]:
    """A codec, and itself with half as many latents more."""
    old, new = trained(), ImageCodec(ImageConfig(**WIDER)).eval()
    widen(old, new, (textures(32, seed) for seed in range(4)))
    return old, new


@torch.no_grad()
def symbols(codec: ImageCodec, x: Tensor, quality: float) -> tuple[Tensor, Tensor]:
    return codec.bottleneck.settled(codec.g_a(x), torch.full((len(x),), quality / 100))


@pytest.mark.parametrize("quality", [0, 60, 100])
@torch.no_grad()
def test_what_was_there_is_coded_as_before(pair: tuple[ImageCodec, ImageCodec], quality: int) -> None:
    old, new = pair
    x = textures(4, 9)
    (features, before), (same, after) = symbols(old, x, quality), symbols(new, x, quality)
    torch.testing.assert_close(features, same)
    assert (before != after[:, KEPT]).float().mean() < 1e-3  # sums in another order
    assert before.abs().max() > 0 and (quality == 0 or after[:, NEW].abs().max() > 0)


@torch.no_grad()
def test_what_is_added_holds_what_was_left_over(pair: tuple[ImageCodec, ImageCodec]) -> None:
    x = textures(8, 9)
    without, new = copy.deepcopy(pair[1]), pair[1]
    without.g_s.up.weight[:, 16:] = 0
    before, after, still = (float((codec(x, 100.0)[0] - x).var()) for codec in (pair[0], new, without))
    assert after < 0.5 * before and still == pytest.approx(before, rel=1e-3)
    y = new.g_a(textures(64, 8))[:, NEW]
    torch.testing.assert_close(y.std((0, 2, 3)), new.bottleneck.sigma[NEW], rtol=0.2, atol=0)
    assert (y.mean((0, 2, 3)).abs() < 0.2 * new.bottleneck.sigma[NEW]).all()
    assert new.bottleneck.sigma[NEW].max() < pair[0].bottleneck.sigma.min()  # weaker than what was there


def test_what_is_added_learns_alone(pair: tuple[ImageCodec, ImageCodec]) -> None:
    new = ImageCodec(ImageConfig(**WIDER))
    new.load_state_dict(pair[1].state_dict())
    choose(new, "added")
    used = optimisers(new, 1e-2, 5e-3)
    for step in range(3):
        loss, _ = rate_distortion(new, (255 * textures(4, step)).to(torch.uint8), torch.full((4,), 0.9), (-0.4, 1.0))
        loss.backward()
        for optimiser in used:
            optimiser.step()
            optimiser.zero_grad()
    x = textures(4, 9)
    for quality in (0, 60, 100):
        (features, before), (same, after) = symbols(pair[1], x, quality), symbols(new, x, quality)
        assert torch.equal(features, same) and torch.equal(before[:, KEPT], after[:, KEPT])
    moved = {name for name, p in new.named_parameters() if not torch.equal(p, pair[1].get_parameter(name))}
    assert moved == set(added(new)) and len(moved) == 10 + 16
    assert_old_values_stay(pair[1], new)


def assert_old_values_stay(before: ImageCodec, after: ImageCodec) -> None:
    """Of what is trained, only the values of new latents have changed."""
    for name, mask in added(after).items():
        found, wanted = after.get_parameter(name), before.get_parameter(name)
        still = (mask == 0).expand_as(found)
        assert torch.equal(found[still], wanted[still]), name


@torch.no_grad()
def test_a_fresh_codec_begins_with_all_its_components() -> None:
    x = textures(64)
    errors = []
    for latents in (16, 24):
        codec = build("image", SIZES | {"latents": latents})
        codec.start(x)
        y = codec.g_a(x)
        errors.append(float((codec.g_s(y) - x).square().mean()))
        torch.testing.assert_close(y.std((0, 2, 3)), codec.bottleneck.sigma, rtol=0.1, atol=0)
    assert errors[1] < errors[0]


def test_what_does_not_widen_is_named(pair: tuple[ImageCodec, ImageCodec]) -> None:
    old, wider = pair
    for latents in (16, 12, 18, 84):
        with pytest.raises(WeightsError, match=f"16 latents do not widen to {latents}"):
            widen(old, ImageCodec(ImageConfig(**SIZES | {"latents": latents})), [])
    with pytest.raises(WeightsError, match="24 latents do not widen"):  # they have been widened
        widen(wider, ImageCodec(ImageConfig(**SIZES | {"latents": 32})), [])
    with pytest.raises(WeightsError, match="more than their latents"):
        widen(old, ImageCodec(ImageConfig(**WIDER | {"more_fine_blocks": 1})), [])
    for other in ({"width": 24}, {"lambda_high": 0.3}):
        with pytest.raises(WeightsError, match="more than their latents"):
            widen(old, ImageCodec(ImageConfig(**WIDER | other)), [])
    with pytest.raises(OptionError, match="weights widen"):
        choose(old, "added")


def test_the_command_leaves_what_a_training_starts_from(tmp_path: Path) -> None:
    run, data, wide, out = (tmp_path / name for name in ("run", "data", "wide", "out"))
    run.mkdir()
    data.mkdir()
    write_weights(trained(), run, 10**9)
    text = (Path(__file__).resolve().parents[1] / "recipes/image.toml").read_text()
    table = {"patch": 64, "scales": [1.0], "drawn": 0.0, "held_back_one_in": 0}
    recipe = {"codec": "image", "model": SIZES, "data": table}
    (run / "recipe.json").write_text(json.dumps(recipe))
    for number, x in enumerate(textures(6)):
        Image.fromarray((255 * x).permute(1, 2, 0).to(torch.uint8).numpy()).save(data / f"{number}.png")
    options = ["--data", str(data), "--patches", "64", "--threads", "1"]
    for more in (["--patches", "5"], ["--pictures", "0"]):
        with pytest.raises(OptionError, match="at least"):
            main(["widen", str(run), "-o", str(wide), "--latents", "24", *options, *more])
    with pytest.raises(WeightsError, match="do not widen to -4"):
        main(["widen", str(run), "-o", str(wide), "--latents", "-4", *options])
    assert main(["widen", str(run), "-o", str(wide), "--latents", "24", *options]) == 0
    assert json.loads((wide / "recipe.json").read_text()) == recipe | {"model": WIDER}
    start_from(ImageCodec(ImageConfig(**WIDER)), wide)
    with pytest.raises(OptionError, match="weights already"):
        main(["widen", str(run), "-o", str(wide), "--latents", "24", *options])

    (tmp_path / "image.toml").write_text(text)
    sets = [f"model.{key}={value}" for key, value in (WIDER | {"more_fine_blocks": 0, "more_coarse_blocks": 0}).items()]
    sets += ["data.patch=64", "data.scales=[1.0]", "train.minutes=0.02", "train.batch=2", 'train.part="added"']
    where = ["--data", str(data), "--out", str(out), "--start", str(wide), "--device", "cpu"]
    assert train([str(tmp_path / "image.toml"), *where, "--set", *sets]) == 0
    before, after = (ImageCodec(ImageConfig(**WIDER)) for _ in range(2))
    start_from(before, wide)
    start_from(after, out)
    moved = {name for name, p in after.named_parameters() if not torch.equal(p, before.get_parameter(name))}
    assert moved and moved <= set(added(after))
    assert_old_values_stay(before, after)
    for folder in (wide, out):  # an export takes heads that say nothing yet
        wanted = export(folder, sorted(data.glob("*.png"))[:2])
        assert isinstance(wanted, ImageCodec) and wanted.bottleneck.channels == 24


def test_codecs_without_latents_to_add_to_are_named(tmp_path: Path) -> None:
    model = {"width": 16, "blocks": 1}
    write_weights(build("walloc-image", model), tmp_path, 10**9)
    (tmp_path / "recipe.json").write_text(json.dumps({"codec": "walloc-image", "model": model}))
    with pytest.raises(WeightsError, match="no latents to add to"):
        main(["widen", str(tmp_path), "-o", str(tmp_path / "o"), "--latents", "24", "--data", str(tmp_path)])
