"""Effort at the encoder: what a change of a symbol is said to cost, and files that are better for it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import rarefy
from rarefy.codecs.audio import Audio
from rarefy.codecs.base import Codec, Unit
from rarefy.codecs.encoding import Encoder
from rarefy.codecs.media import Image
from rarefy.codecs.registry import codecs
from rarefy.codecs.sound import SoundCodec
from rarefy.codecs.weights import candidates, load_any, load_codec
from rarefy.entropy.search import EFFORTS, price_of, refine, rounds_of
from rarefy.entropy.search_hyper import refine_hyper
from rarefy.entropy.trial import Goal, HyperSearchable, Searchable, Trial, around, blocks_of
from rarefy.errors import OptionError
from rarefy.tools.commands import parser

Pixels = NDArray[np.uint8]
QUALITY = 12800


@pytest.fixture(params=sorted(name for name, entry in codecs().items() if entry.media == "image"))
def codec(request: pytest.FixtureRequest) -> Codec:
    """Each codec of pictures whose weights are here and whose bottleneck can be searched."""
    if not candidates(request.param):
        pytest.skip(f'no weights of codec "{request.param}" are here')
    loaded = load_codec(request.param)
    if not isinstance(loaded.bottleneck, Searchable):
        pytest.skip(f'codec "{request.param}" has no search')
    return loaded


def cost(codec: Codec, picture: Image, data: bytes, quality: float) -> float:
    """What the search lowers, of a file: bits per pixel + lambda * squared error, exchanged as the codec says."""
    error = codec.decode(data).pixels.astype(float) - picture.pixels
    price = codec.exchange * float(codec.bottleneck.rate_multiplier(torch.tensor([quality / 100])))
    return 8 * len(data) / (picture.width * picture.height) + price * float(np.square(error).mean())


def latents_of(codec: Codec, photograph: Pixels) -> Tensor:
    """Latents float32 [1, C, h, w], cut to an odd number of positions."""
    x = torch.from_numpy(photograph[:96, :112].copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        return codec.analysis(x, Unit(QUALITY, 96, 112))[:, :, :5, :7].contiguous()


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_files_with_effort_cost_less(codec: Codec, photograph: Pixels, quality: int) -> None:
    picture = Image(photograph)
    plain, searched = (codec.encode(picture, quality, effort=effort) for effort in (0, 3))
    assert cost(codec, picture, searched, quality) < 0.99 * cost(codec, picture, plain, quality)
    assert searched == codec.encode(picture, quality, effort=3), "the same arguments give the same file"


class Curve:
    """Files of a picture without effort around a quality: what other files of it are measured against."""

    def __init__(self, codec: Codec, picture: Image, quality: int) -> None:
        self.codec, self.picture, self.quality = codec, picture, quality
        self.points = sorted(self.point(quality + step, 0) for step in (-12, -6, 0, 6, 12))

    def point(self, quality: float, effort: int) -> tuple[float, float]:
        """Logarithms of a file's squared error and of its size."""
        data = self.codec.encode(self.picture, quality, effort=effort)
        error = self.codec.decode(data).pixels.astype(float) - self.picture.pixels
        return math.log(np.square(error).mean()), math.log(len(data))

    def gain(self, effort: int) -> float:
        """Logarithm of what a file without effort takes at equal error, over a file's size with it."""
        error, size = self.point(self.quality, effort)
        assert error < self.points[-1][0]  # below the lowest error, that file's size is what has to be beaten
        return float(np.interp(error, *zip(*self.points, strict=True))) - size


@pytest.mark.parametrize("quality", [15, 50, 85])
def test_files_with_effort_are_smaller_at_equal_error(codec: Codec, photograph: Pixels, quality: int) -> None:
    """A lower cost at one price for error need not be a gain: another quality may give the same."""
    assert Curve(codec, Image(photograph), quality).gain(3) > 0.015


def test_the_price_of_error_is_the_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paying lambda, the search finds for image at low qualities what a lower quality gives as well."""
    if not candidates("image"):
        pytest.skip("no weights of the image codec are here")
    data = pytest.importorskip("skimage.data", reason="needs scikit-image for a photograph")
    codec = load_codec("image")
    curve = Curve(codec, Image(np.ascontiguousarray(data.chelsea())), 15)
    gain = curve.gain(3)
    monkeypatch.setattr(type(codec), "exchange", 1.0)
    assert gain > 0.008 + curve.gain(3)


def test_more_effort_is_never_dearer(codec: Codec, photograph: Pixels) -> None:
    """But for what the files' own networks and lanes add to what the search sees: half a percent."""
    picture = Image(photograph)
    costs = [cost(codec, picture, codec.encode(picture, 50, effort=effort), 50) for effort in (1, 3, 4)]
    assert costs[1] < costs[0] * 1.005 and costs[2] < costs[1] * 1.005


def test_units_gray_and_alpha(codec: Codec, photograph: Pixels) -> None:
    """Each unit is searched by itself; a picture of another kind next to it changes nothing."""
    photograph = photograph[:, :70]
    alpha = np.full(photograph.shape[:2], 255, np.uint8)
    alpha[:40] = 9
    for picture in (Image(photograph[:, :, 1:2]), Image(photograph, alpha=alpha)):
        turned = Image(picture.pixels[::-1, ::-1].copy(), alpha=picture.alpha)
        files = [Encoder(codec, [turned, picture], tile=64, effort=effort).files(QUALITY)[1:] for effort in (0, 2)]
        assert cost(codec, picture, files[1][0], 50) == pytest.approx(
            cost(codec, picture, Encoder(codec, [picture], tile=64, effort=2).files(QUALITY)[0], 50), rel=1e-3
        )
        assert cost(codec, picture, files[1][0], 50) < cost(codec, picture, files[0][0], 50)


def test_targets_are_met_with_effort(photograph: Pixels) -> None:
    if not candidates("image"):
        pytest.skip("no weights of the image codec are here")
    plain = rarefy.encode(photograph, target_psnr=32)
    searched = rarefy.encode(photograph, target_psnr=32, effort=1)
    assert len(searched) < len(plain)
    error = np.asarray(rarefy.decode(searched)).astype(float) - photograph
    assert 10 * np.log10(255**2 / np.square(error).mean()) >= 32


def test_a_target_that_the_search_misses_is_met_without(codec: Codec) -> None:
    """Rows of black and white: at quality 0 less error is worth more bits, and the smallest file is a plain one."""
    rows = np.random.default_rng(1).integers(0, 2, (48, 48)) * np.uint8(255)
    picture = np.repeat(np.repeat(rows, 2, 0), 2, 1)[:, :, None].astype(np.uint8)
    size = len(codec.encode(Image(picture), 0))
    assert len(rarefy.encode(picture, codec.name, target_size=size, effort=2)) <= size


def test_what_the_caller_does_changes_nothing(codec: Codec, photograph: Pixels) -> None:
    """Inference mode before it, autocast around it."""
    expected = codec.encode(Image(photograph[:64, :64]), 30, effort=1)
    with torch.inference_mode():
        codec(torch.rand(1, 3, 64, 64), 50)
        assert codec.encode(Image(photograph[:64, :64]), 30, effort=1) == expected
    with torch.autocast("cpu", torch.bfloat16):
        assert codec.encode(Image(photograph[:64, :64]), 30, effort=1) == expected


def test_odd_pictures(codec: Codec) -> None:
    for shape in ((1, 1, 3), (1, 40, 3), (17, 3, 1)):
        pixels = np.full(shape, 77, np.uint8)
        decoded = codec.decode(codec.encode(Image(pixels), 60, effort=6)).pixels
        assert decoded.shape == shape and np.abs(decoded.astype(int) - 77).max() < 12


def all_bits(codec: Codec, y: Tensor, trial: Trial) -> Tensor:
    """Of a trial, and of the hyper-latents that the analysis gives."""
    bottleneck, position = codec.bottleneck, torch.tensor([QUALITY / 25600])
    if not isinstance(bottleneck, HyperSearchable):
        return trial.bits.sum()
    return trial.bits.sum() + bottleneck.hyper_bits(bottleneck.hyper_latents(y, position), position).sum()


def test_a_trial_says_what_training_and_files_pay(codec: Codec, photograph: Pixels) -> None:
    y = latents_of(codec, photograph)
    bottleneck = codec.bottleneck
    assert isinstance(bottleneck, Searchable)
    position = torch.tensor([QUALITY / 25600])
    padded = y[:, :, :4, :4].contiguous()
    with torch.no_grad():
        trial, (restored, bits) = bottleneck.trial(padded, position), bottleneck(padded, position)
    torch.testing.assert_close(trial.latents, restored)
    torch.testing.assert_close(all_bits(codec, padded, trial), bits[0], rtol=1e-5, atol=0)
    ((sections, _),) = bottleneck.compress(y, QUALITY)
    with torch.no_grad():
        ideal = float(all_bits(codec, y, bottleneck.trial(y, position)))
    assert abs(8 * len(sections["latents"]) - ideal) < 0.05 * ideal + 64


def test_a_trial_knows_the_cost_of_single_changes(codec: Codec, photograph: Pixels) -> None:
    """Of symbols that nothing is coded after: elsewhere contexts change too, which the gradient covers."""
    y = latents_of(codec, photograph)[:, :, :4, :4].contiguous()
    bottleneck = codec.bottleneck
    assert isinstance(bottleneck, Searchable)
    position = torch.tensor([QUALITY / 25600])
    with torch.no_grad():
        before = bottleneck.trial(y, position)
        found = 0
        for channel in reversed(range(y.shape[1])):
            moved = y.clone()
            at = (0, channel, 2, 3)
            step = 0.5 - before.remainder[at] + 0.25
            moved[at] += step / before.gain[0, channel].flatten()[0]
            after = bottleneck.trial(moved, position)
            nothing_else = ((after.latents - before.latents).abs() > 1e-6).sum() == 1
            same_contexts = torch.equal(_zeroed(after.lower, at), _zeroed(before.lower, at))
            if nothing_else and same_contexts:
                difference = after.bits.sum() - before.bits.sum()
                torch.testing.assert_close(difference, before.higher[at], rtol=1e-2, atol=0.02)
                found += 1
                break
    assert found, "no symbol was the last of its kind"


def _zeroed(values: Tensor, at: tuple[int, ...]) -> Tensor:
    values = values.clone()
    values[at] = 0
    return values


class Parabola:
    """Latents that are their own symbols, free of charge: the search can only undo what rounding did wrong."""

    def trial(self, y: Tensor, position: Tensor, hyper: Tensor | None = None) -> Trial:
        """See `Searchable`."""
        symbols = y + (y.round() - y).detach()
        free = torch.zeros_like(y)
        bits = symbols.sum(1, keepdim=True) * 0
        return Trial(symbols, bits, free, free, (y - symbols).detach(), torch.ones(1, 1, 1, 1))


def test_a_search_finds_what_is_to_be_found() -> None:
    """Pairs of latents that draw almost the same: nearest integers add their errors, the best ones cancel them."""
    generator = torch.Generator().manual_seed(2)
    y = torch.rand(1, 2, 16, 16, generator=generator) * 4
    y[:, 1] = y[:, 0]
    target = y.sum(1, keepdim=True)

    def restore(latents: Tensor) -> Tensor:
        return latents.sum(1, keepdim=True)

    goal = Goal(target, restore, price=10.0, stride=1)
    found = refine(Parabola(), y, QUALITY, goal, rounds=8).latents
    rounded, refined = (float((restore(v.round()) - target).square().mean()) for v in (y, found))
    assert refined < 0.6 * rounded
    assert not found.requires_grad
    with torch.inference_mode():
        again = refine(Parabola(), y, QUALITY, goal, rounds=8)
    assert torch.equal(found, again.latents) and again.hyper is None


class Promises(Parabola):
    """Each change promises two bits; left of the middle it costs three instead, to the right it keeps its word."""

    def __init__(self, y: Tensor) -> None:
        self.start = y.round()

    def trial(self, y: Tensor, position: Tensor, hyper: Tensor | None = None) -> Trial:
        """See `Searchable`."""
        trial = super().trial(y, position)
        changed = (trial.latents.detach() - self.start).abs()
        paid = torch.full(y.shape[3:], -2.0)
        paid[: y.shape[3] // 2] = 3.0
        bits = trial.bits + (changed.sign() * paid).sum(1, keepdim=True)
        promise = torch.where(changed > 0, 9.0, -2.0)
        return replace(trial, bits=bits, lower=promise, higher=promise)


def test_what_has_not_paid_is_undone_where_it_has_not() -> None:
    y = torch.rand(1, 3, 12, 24, generator=torch.Generator().manual_seed(1)) * 4
    goal = Goal(y, lambda latents: latents, price=1e-9, stride=1)
    found = refine(Promises(y), y, QUALITY, goal, rounds=6).latents
    changed = (found.round() != y.round()).float().mean((0, 1, 2))
    assert changed[:10].max() == 0 and changed[14:].min() > 0.5


def test_error_counts_where_the_unit_is() -> None:
    """Of a window of 6 by 5 latents, whose last ones are not filled; what is beyond the unit, at its border."""
    within = (slice(None), slice(None), slice(2, 5), slice(1, 4))
    goal = Goal(torch.zeros(1, 3, 23, 18), lambda latents: latents, price=10.0, stride=4, within=within)
    trial = Trial(*[torch.ones(1, 1, 3, 3)] * 6)
    for (row, column), place in {(9, 5): (0, 0), (14, 9): (1, 1), (3, 17): (0, 2), (22, 8): (2, 1)}.items():
        error = torch.zeros(1, 3, 23, 18)
        error[0, 1, row, column] = 0.5
        expected = torch.ones(1, 1, 3, 3)
        expected[(0, 0, *place)] = 1 + 10 * 0.25
        torch.testing.assert_close(goal.cost(trial, error), expected)


def test_hyper_latents_stay_what_files_hold() -> None:
    """At the last value that they can have, nothing beyond it is tried, however much it promises."""

    class Outwards(Parabola):
        hyper_stride = 2

        def hyper_latents(self, y: Tensor, position: Tensor) -> Tensor:
            return torch.tensor([127.0, -127.0, 5.0])[None, :, None, None].repeat(1, 1, 3, 3)

        def hyper_bits(self, hyper: Tensor, position: Tensor) -> Tensor:
            return 200 - hyper.abs()

        def hyper_slope(self, y: Tensor, position: Tensor, hyper: Tensor) -> Tensor:
            return -hyper.sign()

        def compress(self, y: Tensor, quality: int, hyper: Tensor | None = None) -> list[tuple[dict[str, bytes], int]]:
            raise NotImplementedError

    y = torch.zeros(1, 2, 6, 6)
    goal = Goal(y.sum(1, keepdim=True), lambda latents: latents.sum(1, keepdim=True), price=1.0, stride=1)
    found = refine_hyper(Outwards(), y, torch.tensor([0.5]), goal, 8)
    assert found[:, 0].unique().tolist() == [127] and found[:, 1].unique().tolist() == [-127]
    assert found[:, 2].min() > 5


def hyper_codec() -> tuple[Codec, HyperSearchable]:
    """A codec of pictures whose bottleneck has hyper-latents to search for."""
    if not candidates("image"):
        pytest.skip("no weights of the image codec are here")
    codec = load_codec("image")
    assert isinstance(codec.bottleneck, HyperSearchable)
    return codec, codec.bottleneck


@pytest.mark.parametrize("quality", [15, 70])
def test_hyper_latents_that_cost_less(photograph: Pixels, quality: int) -> None:
    codec, bottleneck = hyper_codec()
    x = torch.from_numpy(photograph[:96, :112].copy()).permute(2, 0, 1)[None].float() / 255
    position = torch.tensor([quality / 100])
    price = codec.exchange * price_of(bottleneck.rate_multiplier(position))
    with torch.no_grad():
        y = codec.analysis(x, Unit(256 * quality, 96, 112))
    goal = Goal(x, lambda latents: codec.synthesis(latents, Unit(256 * quality, 96, 112)), price, codec.stride)

    def cost_of(hyper: Tensor) -> float:
        with torch.no_grad():
            trial = bottleneck.trial(y, position, hyper)
            return float(goal.cost(trial, goal.error(trial)).sum() + bottleneck.hyper_bits(hyper, position).sum())

    start, found = bottleneck.hyper_latents(y, position), refine_hyper(bottleneck, y, position, goal, 12)
    assert found.shape == start.shape == (1, 64, 2, 2) and torch.equal(found, found.round())
    assert cost_of(found) < 0.9995 * cost_of(start)
    assert torch.equal(refine_hyper(bottleneck, y, position, goal, 0), start)


def test_files_hold_the_hyper_latents_that_are_given(photograph: Pixels) -> None:
    codec, bottleneck = hyper_codec()
    y = latents_of(codec, photograph)
    own = bottleneck.hyper_latents(y, torch.tensor([QUALITY / 25600]))
    assert bottleneck.compress(y, QUALITY) == bottleneck.compress(y, QUALITY, own)
    others = own.clone()
    others[0, 5, 0, 1] += 1
    coded = bottleneck.compress(y, QUALITY, others)
    assert coded != bottleneck.compress(y, QUALITY)
    decoded = codec.bottleneck.decompress(coded, (5, 7), QUALITY)
    with torch.no_grad():
        wanted = bottleneck.trial(y, torch.tensor([QUALITY / 25600]), others).latents
    close = (
        ((decoded - wanted).abs() < 1e-3).float().mean()
    )  # of integers made from floats, borders may round otherwise
    assert close > 0.99


def test_what_contexts_see_of_a_change_from_zero(photograph: Pixels) -> None:
    """The slope of a magnitude is none there; files know what one more nonzero symbol does to those after it."""
    codec, bottleneck = hyper_codec()
    y, position = latents_of(codec, photograph)[:, :, :4, :4].contiguous().requires_grad_(True), torch.tensor([0.3])
    hyper = bottleneck.hyper_latents(y.detach(), position)
    trial = bottleneck.trial(y, position, hyper)
    assert trial.seen is not None
    (by_magnitude,) = torch.autograd.grad(trial.bits.sum(), trial.seen.values)
    with torch.no_grad():
        zero = (trial.seen.values == 0) & (by_magnitude.abs() > 0.3)
        torch.testing.assert_close(trial.seen.lower[zero], torch.full_like(trial.seen.lower[zero], math.asinh(1)))
        told, true = [], []
        for at in zero.nonzero()[::3].tolist():
            moved, place = y.detach().clone(), tuple(at)
            moved[place] += (0.75 - trial.remainder[place]) / trial.gain[0, at[1]].flatten()[0]
            after = bottleneck.trial(moved, position, hyper)
            true.append(float(after.bits.sum() - trial.bits.sum() - trial.higher[place]))
            told.append(float(by_magnitude[place] * trial.seen.higher[place]))
    assert len(told) >= 20 and np.corrcoef(told, true)[0, 1] > 0.15


@pytest.mark.parametrize("shape", [(7,), (6, 7)])
def test_sums_over_blocks(shape: tuple[int, ...]) -> None:
    values = torch.rand(1, 1, *shape)
    sums = blocks_of(values, 3)
    assert sums.shape == (1, 1, *(-(-n // 3) for n in shape))
    torch.testing.assert_close(sums.sum(), values.sum())
    torch.testing.assert_close(sums.flatten()[0], values[(0, 0, *[slice(3)] * len(shape))].sum())
    assert around(values).shape == values.shape


def test_refusals(codec: Codec, photograph: Pixels) -> None:
    for wrong in (-1, 7, 2.0, "3"):
        with pytest.raises(OptionError, match="effort"):
            codec.encode(Image(photograph), 50, effort=wrong)  # type: ignore[arg-type]
    assert rounds_of(0, "plain", object()) == 0
    assert parser.EFFORTS == EFFORTS, "the command line knows them without importing torch"
    with pytest.raises(OptionError, match='"plain" has no search'):
        rounds_of(1, "plain", object())


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_sounds_with_effort_cost_less(channels: int) -> None:
    """Over several spans, and each group of channels by itself."""
    if not candidates("walloc-audio"):
        pytest.skip("no weights of codec walloc-audio are here")
    codec = load_any("walloc-audio")
    assert isinstance(codec, SoundCodec)
    rate = codec.stereo.sample_rate if channels == 2 else codec.mono.sample_rate
    generator = np.random.default_rng(4)
    times = np.arange(round(3.7 * rate)) / rate
    tones = [sum(np.sin(2 * np.pi * f * times) for f in generator.uniform(80, 900, 4)) for _ in range(channels)]
    noise = 0.05 * generator.normal(size=(channels, len(times)))
    sound = Audio((0.1 * np.stack(tones) + noise).astype(np.float32), rate)
    if channels == 3:  # a pair and a single, whose parts have rates of their own
        pytest.importorskip("soxr", reason="another sample rate needs soxr")
    price = 255**2 / 3 * float(codec.rate_multiplier(torch.tensor([0.5])))
    costs = []
    for effort in (0, 2):
        data = codec.encode(sound, 50, effort=effort)
        error = codec.decode(data).samples - sound.samples
        level = np.square(sound.samples).mean() / 0.1**2
        costs.append(8 * len(data) + price * float(np.square(error).sum() / level))
    assert costs[1] < 0.99 * costs[0]
