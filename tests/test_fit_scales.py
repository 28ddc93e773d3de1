"""Fitting scales to latents that stay: the rate falls, nothing else moves, and the command leaves a run to export."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rarefy.codecs.image import ImageCodec, ImageConfig
from rarefy.codecs.registry import build
from rarefy.entropy.likelihood import LN2, log_probability
from rarefy.errors import OptionError, WeightsError
from rarefy.models.hyper import STREAM_PEAK
from rarefy.tools.checkpoint import start_from, write_weights
from rarefy.tools.fit_scales import FITTED, fit, rate, settle
from rarefy.tools.weights import main

SIZES = {"latents": 16, "fine": 16, "fine_blocks": 1, "coarse": 16, "coarse_blocks": 1, "width": 16, "hyper": 8}


def codec_of(seed: int) -> ImageCodec:
    """A codec whose transforms are principal components of noise, and whose scales know nothing yet."""
    torch.manual_seed(seed)
    codec = ImageCodec(ImageConfig(**SIZES)).eval()
    codec.start(smooth(64, seed))
    return codec


def smooth(count: int, seed: int) -> torch.Tensor:
    """Patches of 64 pixels, each as smooth as its own number says: there is something for scales to learn."""
    torch.manual_seed(seed)
    coarse = torch.rand(count, 3, 16, 16)
    x = torch.nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1)
    return (x - 0.5) * torch.rand(count, 1, 1, 1) + 0.5


def latents(codec: ImageCodec, count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Latents of patches, and qualities."""
    with torch.no_grad():
        return [(codec.g_a(smooth(8, seed)), torch.rand(8)) for seed in range(count)]


def test_the_rate_falls_and_nothing_but_scales_moves() -> None:
    codec = codec_of(1)
    before = {name: p.detach().clone() for name, p in codec.bottleneck.named_parameters()}
    pairs = latents(codec, 6)
    patches = settle(codec.bottleneck, pairs)
    everything = patches.of(torch.arange(48))
    with torch.no_grad():
        first = float(rate(codec.bottleneck, *everything).sum())
    assert fit(codec.bottleneck, patches, 100.0, clock=itertools.count().__next__, say=lambda words: None) == 99
    with torch.no_grad():
        assert float(rate(codec.bottleneck, *everything).sum()) < 0.998 * first
    moved = {name for name, p in codec.bottleneck.named_parameters() if not torch.equal(p, before[name])}
    assert {"scales.heads.3.weight", "scales.contexts.2.reduce.weight", "scale_start"} <= moved
    stays = ("scales.up_", "scales.block", "means.", "embedding", "gain_", "h_a.", "prior")
    assert not [name for name in moved if name.startswith(stays)]


def test_a_fit_that_meets_no_number_is_an_error() -> None:
    codec = codec_of(5)
    patches = settle(codec.bottleneck, latents(codec, 2))
    patches.features[:] = float("nan")
    with pytest.raises(WeightsError, match="not finite"):
        fit(codec.bottleneck, patches, 10.0, clock=itertools.count().__next__, say=lambda words: None)


def test_what_is_fitted_is_the_rate_that_training_sees() -> None:
    codec = codec_of(2)
    for network in (codec.bottleneck.scales, codec.bottleneck.means):
        for layer in network.modules():
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.normal_(layer.weight, std=0.2)
    (y, position), *_ = pairs = latents(codec, 1)
    features, symbols, positions = settle(codec.bottleneck, pairs).of(torch.arange(8))
    with torch.no_grad():
        bits = log_probability(symbols, codec.bottleneck.inverse_scales(features, symbols, positions)).sum() / -LN2
        hyper = codec.bottleneck.hyper_bits(codec.bottleneck.h_a(y * codec.bottleneck.gains(position)[0]), position)
        wanted = codec.bottleneck(y, position)[1].sum() - hyper.sum()
    torch.testing.assert_close(bits, wanted, rtol=1e-3, atol=0.1)  # features are kept in 16 bits


@torch.no_grad()
def test_what_a_step_hands_on_stays_within_eight_bits() -> None:
    """However large features and contexts are, the head sees what its integers can hold."""
    scales = codec_of(3).bottleneck.scales
    seen: list[torch.Tensor] = []
    for layer in (*scales.heads, *scales.contexts):
        layer.register_forward_hook(lambda _layer, inputs, _output: seen.append(inputs[0]))
    for sign in (-1, 1):
        for step in range(4):
            scales.step(step, torch.full((1, 16, 4, 4), 1e3 * sign), torch.full((1, 16, 4, 4), 5.0))
    assert len(seen) == 14 and all(float(x.abs().max()) == STREAM_PEAK for x in seen)


def test_the_command_leaves_a_run(tmp_path: Path) -> None:
    codec = codec_of(4)
    run, data = tmp_path / "run", tmp_path / "data"
    run.mkdir()
    data.mkdir()
    write_weights(codec, run, 10**9)
    recipe = {
        "codec": "image",
        "model": SIZES,
        "data": {"patch": 64, "scales": [1.0], "drawn": 0.1, "held_back_one_in": 0},
    }
    (run / "recipe.json").write_text(json.dumps(recipe))
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 255, (80, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(data / f"{number}.png")
    out = tmp_path / "fitted"
    options = ["--data", str(data), "--minutes", "0.01", "--patches", "32", "--threads", "1"]
    assert main(["fit", str(run), "-o", str(out), *options]) == 0
    assert json.loads((out / "recipe.json").read_text()) == recipe
    fitted = ImageCodec(ImageConfig(**SIZES))
    start_from(fitted, out)
    moved = {
        name for name, p in fitted.named_parameters() if not torch.equal(p, codec.get_parameter(name).half().float())
    }
    assert moved and all(FITTED.match(name.removeprefix("bottleneck.")) for name in moved)


def test_the_mean_of_two_runs_is_a_run(tmp_path: Path) -> None:
    codecs = [codec_of(seed) for seed in (4, 5)]
    for number, codec in enumerate(codecs):
        (tmp_path / str(number)).mkdir()
        write_weights(codec, tmp_path / str(number), 10**9)
    recipe = {"codec": "image", "model": SIZES}
    (tmp_path / "0/recipe.json").write_text(json.dumps(recipe))
    folders = [str(tmp_path / name) for name in ("0", "1")]
    assert main(["mean", *folders, "-o", str(tmp_path / "mean"), "--share", "0.75"]) == 0
    mean = ImageCodec(ImageConfig(**SIZES))
    start_from(mean, tmp_path / "mean")
    assert json.loads((tmp_path / "mean/recipe.json").read_text()) == recipe
    for name, p in mean.named_parameters():
        expected = 0.75 * codecs[0].get_parameter(name) + 0.25 * codecs[1].get_parameter(name)
        torch.testing.assert_close(p, expected, atol=2e-3, rtol=2e-3)
    with pytest.raises(OptionError, match="between 0 and 1"):
        main(["mean", *folders, "-o", str(tmp_path / "other"), "--share", "1.5"])
    with pytest.raises(OptionError, match="holds weights already"):
        main(["mean", *folders, "-o", str(tmp_path / "1")])


def test_codecs_without_a_scale_network_are_named(tmp_path: Path) -> None:
    model = {"width": 16, "blocks": 1}
    write_weights(build("walloc-image", model), tmp_path, 10**9)
    (tmp_path / "recipe.json").write_text(json.dumps({"codec": "walloc-image", "model": model}))
    with pytest.raises(WeightsError, match="no scale network"):
        main(["fit", str(tmp_path), "-o", str(tmp_path / "out"), "--data", str(tmp_path)])
