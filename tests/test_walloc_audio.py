"""WaLLoC for sound: its networks, its recipe, and runs of a tiny one from crops to a weights file."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sound_codecs import TINY, tiny

from rarefy.codecs.audio import read_audio
from rarefy.codecs.registry import build
from rarefy.codecs.sound import SoundCodec
from rarefy.codecs.sound_level import LEVEL_MAX, LEVEL_MIN, SPREAD, gain_of, level_of
from rarefy.codecs.weights import read_weights, save_weights
from rarefy.errors import OptionError, WeightsError
from rarefy.tools.recipe import SoundRecipe, read_recipe
from rarefy.tools.train import Trainer, build_model, rate_distortion, stratified

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
RECIPE = """
codec = "walloc-audio"
[model]
{model}
[data]
crop = 2048
slow_one_in = 1
held_back_one_in = 5
[train]
batch = 4
minutes = 0.02
warmup_steps = 2
decay_from = 0.5
adam = 2e-3
muon = 5e-3
muon_every = 2
clip = 2.0
ema = 0.9
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
    path.write_text(RECIPE.format(model="\n".join(f"{key} = {value}" for key, value in TINY.items())))
    return path


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of short sounds: filtered noise, mono and stereo, of two rates."""
    from rarefy.codecs.audio import Audio
    from rarefy.codecs.audio_writing import write_audio

    pytest.importorskip("soundfile", reason="sound files need soundfile")
    pytest.importorskip("soxr", reason="other sample rates need soxr")
    folder = tmp_path_factory.mktemp("sounds")
    for number in range(14):
        noise = np.random.default_rng(number).standard_normal((1 + number % 2, 9000))
        smooth = np.stack([np.convolve(row, np.ones(20) / 20, "same") for row in noise]).astype(np.float32)
        write_audio(folder / f"{number}.wav", Audio(0.3 * smooth, (24_000, 44_100)[number // 7]))
    return folder


def test_the_shipped_recipe_builds_the_shipped_sizes() -> None:
    recipe = read_recipe(ROOT / "recipes/walloc-audio.toml", [])
    assert isinstance(recipe.data, SoundRecipe)
    codec = build(recipe.codec, recipe.model)
    assert isinstance(codec, SoundCodec) and codec.config == build("walloc-audio", {}).config
    for part in (codec.stereo, codec.mono):
        assert sum(p.numel() for p in part.g_s.parameters()) < 3e6
        assert recipe.data.crop % part.stride == 0
        latents = part.analysis(torch.zeros(1, part.channels, 8 * part.stride))
        assert latents.shape == (1, part.bottleneck.channels, 8)
    assert 512 / codec.stereo.bottleneck.channels == 48_000 / 24_000 * 128 / codec.mono.bottleneck.channels
    assert 2 * sum(p.numel() for p in codec.parameters()) < 8e6


def test_recipes_of_sounds_take_no_keys_of_pictures(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    text = (ROOT / "recipes/walloc-audio.toml").read_text()
    path.write_text(text.replace("crop = 32768", "patch = 256"))
    with pytest.raises(OptionError, match="crop, patch"):
        read_recipe(path, [])


def test_latents_and_samples_reach_no_farther_than_the_halo() -> None:
    """What lies beyond the halo changes nothing, so that units that are cut out fit each other exactly."""
    codec = tiny().float()
    for part in (codec.stereo, codec.mono):
        with torch.no_grad():
            for parameter in part.parameters():
                parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
        length = (2 * part.halo + 6) * part.stride
        x = torch.rand(1, part.channels, length, generator=torch.Generator().manual_seed(1)) - 0.5
        other = x.clone()
        other[:, :, : 3 * part.stride] = 0
        with torch.inference_mode():
            latents, changed = part.analysis(x), part.analysis(other)
            assert torch.equal(latents[:, :, 3 + part.halo :], changed[:, :, 3 + part.halo :])
            assert not torch.equal(latents[:, :, 3], changed[:, :, 3])
            whole = part.synthesis(latents)
            cut = part.synthesis(latents[:, :, 3:])
        first = (3 + part.halo) * part.stride
        torch.testing.assert_close(cut[:, :, part.halo * part.stride :], whole[:, :, first:], atol=1e-6, rtol=0)
        assert not torch.allclose(cut[:, :, : part.stride], whole[:, :, 3 * part.stride : 4 * part.stride], atol=1e-4)


def test_levels_bring_samples_to_one_spread() -> None:
    for spread in (1e-4, 0.03, 0.1, 0.9, 3.0):
        left = spread / gain_of(level_of(spread**2))
        assert abs(np.log2(left / SPREAD)) <= 1 / 16 + 1e-9
    assert level_of(0.0) == LEVEL_MIN and gain_of(0) == 1
    assert level_of(1e30) == LEVEL_MAX and level_of(1e-30) == LEVEL_MIN


def test_a_tiny_run_learns_and_moves_everything(recipe_file: Path, sounds: Path) -> None:
    from rarefy.tools.pools import pool_of

    recipe = read_recipe(recipe_file, [])
    pool, words = pool_of(recipe, [sounds], CPU, workers=1)
    assert "sounds" in words
    x = pool.draw(6, torch.Generator().manual_seed(3))
    assert x.shape == (6, 3, 2048) and x.dtype == torch.float32
    assert 0.05 < float(x.square().mean().sqrt()) < 0.2  # every file at one spread
    trainer = Trainer(recipe, pool, build_model(recipe, pool, CPU), compile_model=False)
    position = stratified(6, CPU, torch.Generator().manual_seed(4))

    def loss() -> float:
        with torch.no_grad():
            return float(rate_distortion(trainer.model, x, position, (-0.4, 1.0))[0])

    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    first = loss()
    for _ in range(12):
        trainer.train_step(1.0)
    assert loss() < 0.97 * first
    still = {n for n, p in trainer.model.named_parameters() if torch.equal(p, before[n])}
    assert not still, f"never moved: {still}"


@pytest.mark.parametrize("length", [2047, 0])
def test_training_takes_whole_latents_of_three_channels(length: int) -> None:
    with pytest.raises(OptionError, match="3 channels"):
        tiny()(torch.zeros(1, 2 if not length else 3, length or 2048), 50)


def test_weights_hold_both_parts_and_their_tables_once(tmp_path: Path) -> None:
    codec = tiny()
    path = tmp_path / "tiny.safetensors"
    name = save_weights(codec, path)
    again = read_weights(path)
    assert isinstance(again, SoundCodec) and again.weights_hash == name
    y = torch.randn(1, codec.stereo.bottleneck.channels, 40, generator=torch.Generator().manual_seed(0))
    again.seal(name)
    assert again.stereo.bottleneck.compress(y, 12800)[0] == read_weights(path).stereo.bottleneck.compress(y, 12800)[0]
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        names = set(file.keys())
    assert "exact.mono.bottleneck.means" in names and "exact.stereo.bottleneck.start" in names
    assert {n for n in names if n.startswith("tables.")} == {
        n for n in names if n.startswith("tables") and n.count(".") == 1
    }


def test_weights_with_integers_of_no_part_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = tmp_path / "tiny.safetensors"
    save_weights(tiny(), path)
    facts = {"codec": "walloc-audio", "config": json.dumps(TINY)}
    save_file(load_file(path) | {"exact.third.means": torch.zeros(1, dtype=torch.int16)}, path, facts)
    with pytest.raises(WeightsError, match="third"):
        read_weights(path)


@pytest.mark.slow
def test_a_run_ends_in_weights_that_code(recipe_file: Path, sounds: Path, tmp_path: Path) -> None:
    run, weights = tmp_path / "run", tmp_path / "weights/walloc-audio.safetensors"
    weights.parent.mkdir()
    data = ["--data", str(sounds)]

    def rarefy(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "rarefy", *arguments], capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stderr + done.stdout

    told = rarefy("train", str(recipe_file), *data, "--out", str(run), "--device", "cpu")
    assert "minutes for stereo" in told and "quality  95" in told
    told = rarefy("weights", "export", str(run), "-o", str(weights), *data)
    assert told.count("of rate against float networks") == 3
    assert "exact up to" in rarefy("weights", "verify", str(weights))
    codec = read_weights(weights)
    assert isinstance(codec, SoundCodec)
    audio = read_audio(sounds / "1.wav")
    decoded = codec.decode(codec.encode(audio, 90))
    assert np.square(decoded.samples - audio.samples).mean() < 0.5 * np.square(audio.samples).mean()
