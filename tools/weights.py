"""`rarefy weights export RUN -o FILE`, `mean`, `fit`, `widen`, `convert`, `verify`: from runs to weights files.

An export takes the averaged weights in 16 bits, quantises the scale network by calibration on training pictures, proves
that its sums are exact, builds the tables, and measures what all this costs in rate.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rarefy.codecs.any_codec import AnyCodec
from rarefy.codecs.base import Codec, Unit
from rarefy.codecs.container import read
from rarefy.codecs.image import ImageCodec
from rarefy.codecs.media import as_image
from rarefy.codecs.registry import build, find
from rarefy.codecs.sound import SoundCodec
from rarefy.codecs.weights import read_weights, save_weights
from rarefy.entropy.correct import correct, magnitudes_seen
from rarefy.entropy.gains import QUALITY_LEVELS
from rarefy.entropy.hyperprior import Hyperprior
from rarefy.entropy.lattice import Lattice
from rarefy.entropy.quantise import quantise_scales
from rarefy.errors import OptionError, WeightsError
from rarefy.models.layers import PartialBlock
from rarefy.tools.arguments import WithDefaults
from rarefy.tools.checkpoint import start_from, write_weights
from rarefy.tools.evaluate import rate_and_psnr, read_pixels
from rarefy.tools.export_sounds import cost_of_sounds, prove_round_trip
from rarefy.tools.fit_scales import BATCH, fit, settle
from rarefy.tools.patches import Patches, picture_files
from rarefy.tools.pools import files_of, readable_files_of
from rarefy.tools.train import stratified
from rarefy.tools.widen import require_wider, widen

CALIBRATION_QUALITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
LEVELS_APART = 6  # each picture corrects every sixth level, the next picture the levels behind those
CHECK_QUALITIES = (0.05, 0.5, 0.9)
LARGEST_SIDE = 1 << 16  # of the pictures whose streams are measured


def export(run: Path, pictures: list[Path]) -> AnyCodec:
    """A codec with its exact part from a complete run; pictures: training pictures to calibrate on, sides of 64 n.

    Codecs of sound need none.
    """
    recipe = json.loads((run / "recipe.json").read_text())
    codec = build(recipe["codec"], recipe["model"]).eval()
    start_from(codec, run)
    for bottleneck in codec.bottlenecks().values():
        if isinstance(bottleneck, Lattice):
            bottleneck.make_exact()
    if isinstance(codec, Codec) and isinstance(codec.bottleneck, Hyperprior):
        _as_bfloat16(codec)
        _quantise(codec, pictures)
    return codec


@torch.no_grad()
def _as_bfloat16(codec: nn.Module) -> None:
    """Round the weights that decoders may run in bfloat16 to what it holds: they are the same in every precision.

    They belong to the blocks of the synthesis. Storing them in 16-bit floats changes nothing about that: where those
    have fewer bits than bfloat16, what they hold it holds too.
    """
    for name, block in codec.named_modules():
        if name.startswith("g_s.") and isinstance(block, PartialBlock):
            for parameter in block.parameters():
                parameter.copy_(parameter.bfloat16())


def _quantise(codec: Codec, pictures: list[Path]) -> None:
    """Make the integer scale network of a hyperprior, by calibration."""
    bottleneck = codec.bottleneck
    assert isinstance(bottleneck, Hyperprior)

    def calibrate(position: float) -> None:
        for path in pictures:
            rate_and_psnr(codec, read_pixels(path)[:, :, :384, :384], position)

    integers = quantise_scales(bottleneck, calibrate, CALIBRATION_QUALITIES)
    bottleneck.exact = (integers, bottleneck.build_tables())
    with torch.inference_mode():
        whole = [whole_squares(read_pixels(path)) for path in pictures]
        latents = [codec.analysis(x, Unit(-1, x.shape[2], x.shape[3])) for x in whole]
    last = QUALITY_LEVELS - 1
    pairs = [
        (y, round(25600 * level / last))
        for number, y in enumerate(latents)
        for level in range(number % LEVELS_APART, QUALITY_LEVELS, LEVELS_APART)
    ]
    correct(bottleneck, pairs)
    bottleneck.exact = (bottleneck.exact_network(), bottleneck.build_tables(magnitudes_seen(bottleneck, pairs)))


def whole_squares(pixels: Tensor, most: int = 384) -> Tensor:
    """The upper left corner in 0..1, at most `most` by `most`, of squares of 64; small pictures end in repetitions."""
    height, width = (min(most, max(64, side // 64 * 64)) for side in pixels.shape[2:])
    x = pixels[:, :, :height, :width].float() / 255
    return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]), mode="replicate")


def cost(reference: Codec, codec: Codec, pictures: list[Path]) -> list[dict[str, float]]:
    """Bits of real streams over the ideal bits of the float networks, per quality."""
    rows = []
    for quality in CHECK_QUALITIES:
        ideal = coded = 0.0
        for path in pictures:
            x = whole_squares(read_pixels(path), LARGEST_SIDE)
            with torch.inference_mode():
                ideal += float(reference(x, 100 * quality).bits)
                unit = Unit(round(25600 * quality), x.shape[2], x.shape[3])
                y = codec.analysis(x, unit)
                sections, _ = codec.bottleneck.compress(y, unit.quality)[0]
                coded += 8 * sum(map(len, sections.values()))
        rows.append({"quality": 100 * quality, "ideal_bits": ideal, "coded_bits": coded, "excess": coded / ideal - 1})
    return rows


def _export(a: argparse.Namespace) -> int:
    recipe = json.loads((a.run / "recipe.json").read_text())
    name, one_in = recipe["codec"], recipe["data"]["held_back_one_in"]
    files = files_of(name, a.data, one_in, held_back=False)
    if not files:
        raise WeightsError("no training data to calibrate on: name its folder with --data")
    step = max(1, len(files) // a.pictures)
    pictures = [] if find(name).media == "sound" else readable_files_of(name, files[::step][: a.pictures])
    codec = export(a.run, pictures)
    a.output.parent.mkdir(parents=True, exist_ok=True)
    digest = save_weights(codec, a.output)
    size = a.output.stat().st_size / 1e6
    largest, limit = codec.prove_bounds()
    print(f"{a.output}: {size:.1f} MB, sha256 {digest.hex()}, largest sum {largest} of {limit}", file=sys.stderr)
    held_back = readable_files_of(name, files_of(name, a.data, one_in, held_back=True)[: a.pictures])
    if not held_back:
        print("rarefy: hint: nothing is held back, so what the export costs is not measured", file=sys.stderr)
        return 0
    reference = build(codec.name, json.loads((a.run / "recipe.json").read_text())["model"]).eval()
    start_from(reference, a.run)
    for row in _costs(reference, read_weights(a.output), held_back):
        print(
            "quality {quality:3.0f}: {excess:+.2%} of rate against float networks and ideal code lengths".format(**row)
        )
    return 0


def _costs(reference: AnyCodec, codec: AnyCodec, held_back: list[Path]) -> list[dict[str, float]]:
    if isinstance(reference, SoundCodec) and isinstance(codec, SoundCodec):
        return cost_of_sounds(reference, codec, held_back, CHECK_QUALITIES)
    assert isinstance(reference, Codec) and isinstance(codec, Codec)
    return cost(reference, codec, held_back)


def _trained(a: argparse.Namespace) -> tuple[dict[str, Any], AnyCodec]:
    """Recipe and codec of a run that another folder is made from; refuses a folder that holds weights."""
    recipe: dict[str, Any] = json.loads((a.run / "recipe.json").read_text())
    codec = build(recipe["codec"], recipe["model"]).eval()
    start_from(codec, a.run)
    if list(a.output.glob("weights-*.safetensors")):
        raise OptionError(f"{a.output} holds weights already: name another folder")
    return recipe, codec


def _leave(codec: AnyCodec, recipe: dict[str, Any], folder: Path) -> None:
    """Write a folder that an export or a training takes for a run."""
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(codec, folder, 10**12)
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n")


def _settings_of(weights: Path, codec: str) -> dict[str, Any]:
    """The config of the codec that a file of weights, or a run, holds; nothing where bare pieces do not say it."""
    if not weights.is_dir():
        return asdict(read_weights(weights).config)
    recipe = weights / "recipe.json"
    return asdict(build(codec, json.loads(recipe.read_text())["model"]).config) if recipe.is_file() else {}


@torch.no_grad()
def _mean(a: argparse.Namespace) -> int:
    if not 0 < a.share < 1:
        raise OptionError(f"a share is between 0 and 1, not {a.share:g}")
    recipe, codec = _trained(a)
    other = build(recipe["codec"], recipe["model"])
    start_from(other, a.other)
    theirs = _settings_of(a.other, recipe["codec"])
    if differences := [f"{k} {theirs[k]}, not {v}" for k, v in asdict(codec.config).items() if theirs.get(k, v) != v]:
        raise WeightsError(f"{a.other}: other weights than those of {a.run}, with {'; '.join(differences)}")
    for parameter, before in zip(codec.parameters(), other.parameters(), strict=True):
        parameter.lerp_(before, 1 - a.share)
    _leave(codec, recipe, a.output)
    return 0


def _fit(a: argparse.Namespace) -> int:
    recipe, codec = _trained(a)
    if not (isinstance(codec, Codec) and isinstance(codec.bottleneck, Hyperprior)):
        raise WeightsError(f'codec "{codec.name}" has no scale network to fit')
    torch.set_num_threads(a.threads)
    if a.patches < BATCH or a.minutes <= 0:
        raise OptionError(f"a fit needs {BATCH} patches at least, and time")
    d = recipe["data"]
    files = files_of(codec.name, a.data, d["held_back_one_in"], held_back=False)
    cpu = torch.device("cpu")
    pool = Patches(files, d["patch"], tuple(d["scales"]), cpu, drawn=d["drawn"], workers=a.threads)
    generator = torch.Generator().manual_seed(a.seed)
    patches = settle(codec.bottleneck, _latents(codec, pool, a.patches // BATCH, generator))
    del pool
    print(f"{len(patches.positions)} patches of {len(files)} pictures", file=sys.stderr, flush=True)
    steps = fit(codec.bottleneck, patches, 60 * a.minutes, a.seed, say=lambda words: print(words, file=sys.stderr))
    _leave(codec, recipe, a.output)
    print(f"{a.output}: {steps} steps", file=sys.stderr)
    return 0


def _latents(codec: Codec, pool: Patches, batches: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Latents of random patches and the qualities at which they count."""
    for _ in range(batches):
        x = pool.draw(BATCH, generator).float().div(255).contiguous(memory_format=torch.channels_last)
        position = stratified(BATCH, x.device, generator)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            y = codec.analysis(x, Unit(-1, x.shape[2], x.shape[3]))
        yield y.float(), position


def _widen(a: argparse.Namespace) -> int:
    recipe, old = _trained(a)
    if not isinstance(old, ImageCodec):
        raise WeightsError(f'codec "{old.name}" has no latents to add to')
    if a.patches < 2 * BATCH or a.pictures < 1:
        raise OptionError(f"widening looks at {2 * BATCH} patches at least, and at pictures")
    require_wider(old.config, replace(old.config, latents=a.latents))
    recipe["model"]["latents"] = a.latents
    new = build(recipe["codec"], recipe["model"]).eval()
    assert isinstance(new, ImageCodec)
    torch.set_num_threads(a.threads)
    d = recipe["data"]
    files = files_of(old.name, a.data, d["held_back_one_in"], held_back=False)
    step = max(1, len(files) // a.pictures)
    pool = Patches(files[::step][: a.pictures], d["patch"], (1.0,), torch.device("cpu"), workers=a.threads)
    generator = torch.Generator().manual_seed(a.seed)
    widen(old, new, (pool.draw(BATCH, generator).float() / 255 for _ in range(a.patches // BATCH - 1)))
    _compare(old, new, pool.draw(BATCH, generator).float() / 255)
    _leave(new, recipe, a.output)
    print(f'{a.output}: {a.latents} latents; next: rarefy train --start with train.part = "added"', file=sys.stderr)
    return 0


@torch.no_grad()
def _compare(old: Codec, new: Codec, x: Tensor) -> None:
    """Print what patches take and lose before and after: what is new has yet to learn its scales."""
    for quality in (100 * position for position in CHECK_QUALITIES):
        words = []
        for codec in (old, new):
            x_hat, bits = codec(x, quality)
            psnr = -10 * (x_hat - x).square().flatten(1).mean(1).log10().mean()
            words.append(f"{float(bits.sum()) / x[:, 0].numel():.4f} bpp, {float(psnr):.2f} dB")
        print(f"quality {quality:3.0f}: {words[0]} before, {words[1]} untrained")


def _verify(a: argparse.Namespace) -> int:
    """Reading proves shapes, sums and tables; coding what is hard proves that both sides agree on symbols."""
    codec = read_weights(a.file)
    if isinstance(codec, SoundCodec):
        prove_round_trip(codec)
    else:
        assert isinstance(codec, Codec)
        board = (torch.arange(96)[:, None] + torch.arange(80)) % 2
        picture = as_image((board * 255).to(torch.uint8).numpy())
        for quality in (0, 50, 100):
            with torch.inference_mode():
                codec.latents(read(codec.encode(picture, quality)))
    largest, limit = codec.prove_bounds()
    print(f"{a.file}: codec {codec.name}, sha256 {codec.weights_hash.hex()}")
    print(f"largest sum {largest}, exact up to {limit}")
    return 0


def _convert(a: argparse.Namespace) -> int:
    from rarefy.tools.convert_walloc import convert

    files = picture_files(a.data, 0, held_back=False)
    codec, bits = convert(a.file, files[:: max(1, len(files) // a.pictures)][: a.pictures], a.steps)
    a.output.parent.mkdir(parents=True, exist_ok=True)
    digest = save_weights(codec, a.output)
    size = a.output.stat().st_size / 1e6
    print(f"{a.output}: {size:.1f} MB, sha256 {digest.hex()}, {bits:.2f} bits a latent", file=sys.stderr)
    return 0


def _add_folders(p: argparse.ArgumentParser, output: str) -> None:
    """The arguments of verbs that make a folder from a run's."""
    p.add_argument("run", type=Path, help="folder of a complete run")
    p.add_argument("-o", "--output", type=Path, required=True, help=output)
    p.add_argument("--data", type=Path, nargs="+", required=True, help="folders of the training data")
    p.add_argument("--threads", type=int, default=2, help="CPU threads")
    p.add_argument("--seed", type=int, default=0, help="of whatever is drawn at random")


def parser() -> argparse.ArgumentParser:
    """The arguments of `rarefy weights`."""
    p = argparse.ArgumentParser(prog="rarefy weights", description=__doc__, formatter_class=WithDefaults)
    verbs = p.add_subparsers(required=True)
    e = verbs.add_parser("export", help="make a weights file from a training run", formatter_class=WithDefaults)
    e.add_argument("run", type=Path, help="folder of a complete run")
    e.add_argument("-o", "--output", type=Path, required=True, help="the safetensors file to write")
    e.add_argument("--data", type=Path, nargs="+", required=True, help="folders of the training data, to calibrate on")
    e.add_argument("--pictures", type=int, default=12, help="how many files of it")
    e.set_defaults(action=_export)
    m = verbs.add_parser(
        "mean",
        help="the mean of a run's weights and those that it started from, or others like them",
        formatter_class=WithDefaults,
    )
    m.add_argument("run", type=Path, help="folder of a complete run")
    m.add_argument("other", type=Path, help="a weights file, or the folder of another run")
    m.add_argument("-o", "--output", type=Path, required=True, help="the folder to write, to export from")
    m.add_argument("--share", type=float, default=0.5, help="of the run's weights")
    m.set_defaults(action=_mean)
    f = verbs.add_parser(
        "fit",
        help="fit the scales of a run's entropy model to its latents, which stay as they are",
        formatter_class=WithDefaults,
    )
    _add_folders(f, "the folder to write, to export from")
    f.add_argument("--minutes", type=float, default=12.0, help="of fitting")
    f.add_argument("--patches", type=int, default=4800, help="how many are looked at: half a megabyte each")
    f.set_defaults(action=_fit)
    w = verbs.add_parser(
        "widen",
        help="give a run's codec more latents, fitted to what its own leave over",
        formatter_class=WithDefaults,
    )
    _add_folders(w, "the folder to write, to start a training from")
    w.add_argument("--latents", type=int, required=True, help="how many it shall have, a multiple of 4")
    w.add_argument("--pictures", type=int, default=200, help="how many files of it")
    w.add_argument("--patches", type=int, default=640, help="how many are looked at")
    w.set_defaults(action=_widen)
    c = verbs.add_parser(
        "convert", help="make a weights file from a checkpoint that others published", formatter_class=WithDefaults
    )
    c.add_argument("kind", choices=["walloc"], help="whose checkpoint it is: WaLLoC's authors'")
    c.add_argument("file", type=Path, help="the .pth or safetensors file, with its settings in a .json file beside it")
    c.add_argument("-o", "--output", type=Path, required=True, help="the safetensors file to write")
    c.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders of any pictures, to fit the entropy coder on"
    )
    c.add_argument("--pictures", type=int, default=40, help="how many of them")
    c.add_argument("--steps", type=int, default=600, help="steps of the fit: a tenth of a second each")
    c.set_defaults(action=_convert)
    v = verbs.add_parser("verify", help="prove that a weights file is whole and exact")
    v.add_argument("file", type=Path, help="a safetensors file of `rarefy weights export`")
    v.set_defaults(action=_verify)
    return p


def main(argv: list[str]) -> int:
    """Run the command; gives its exit code."""
    a = parser().parse_args(argv)
    action = a.action
    return int(action(a))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
