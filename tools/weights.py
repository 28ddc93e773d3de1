"""`rarefy weights export RUN -o FILE`, `convert` and `verify FILE`: from a training run, ours or another's, to weights.

An export takes the averaged weights in 16 bits, quantises the scale network by calibration on training pictures, proves
that its sums are exact, builds the tables, and measures what all this costs in rate.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from rarefy.codecs.any_codec import AnyCodec
from rarefy.codecs.base import Codec, Unit
from rarefy.codecs.container import read
from rarefy.codecs.media import as_image
from rarefy.codecs.registry import build, find
from rarefy.codecs.sound import SoundCodec
from rarefy.codecs.weights import read_weights, save_weights
from rarefy.entropy.correct import correct, magnitudes_seen
from rarefy.entropy.gains import QUALITY_LEVELS
from rarefy.entropy.hyperprior import Hyperprior
from rarefy.entropy.lattice import Lattice
from rarefy.entropy.quantise import quantise_scales
from rarefy.errors import WeightsError
from rarefy.tools.checkpoint import start_from
from rarefy.tools.evaluate import rate_and_psnr, read_pixels
from rarefy.tools.export_sounds import cost_of_sounds, prove_round_trip
from rarefy.tools.patches import picture_files
from rarefy.tools.sound_patches import sound_files

CALIBRATION_QUALITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
LEVELS_APART = 6  # each picture corrects every sixth level, the next picture the levels behind those
CHECK_QUALITIES = (0.05, 0.5, 0.9)


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
        _quantise(codec, pictures)
    return codec


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


def whole_squares(pixels: Tensor) -> Tensor:
    """The upper left corner in 0..1, at most 384 by 384, of squares of 64; small pictures end in repetitions."""
    height, width = (min(384, max(64, side // 64 * 64)) for side in pixels.shape[2:])
    x = pixels[:, :, :height, :width].float() / 255
    return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]), mode="replicate")


def cost(reference: Codec, codec: Codec, pictures: list[Path]) -> list[dict[str, float]]:
    """Bits of real streams over the ideal bits of the float networks, per quality."""
    rows = []
    for quality in CHECK_QUALITIES:
        ideal = coded = 0.0
        for path in pictures:
            pixels = read_pixels(path)
            pixels = pixels[:, :, : pixels.shape[2] // 64 * 64, : pixels.shape[3] // 64 * 64]
            with torch.inference_mode():
                x = pixels.float() / 255
                ideal += float(reference(x, 100 * quality).bits)
                unit = Unit(round(25600 * quality), x.shape[2], x.shape[3])
                y = codec.analysis(x, unit)
                sections, _ = codec.bottleneck.compress(y, unit.quality)[0]
                coded += 8 * sum(map(len, sections.values()))
        rows.append({"quality": 100 * quality, "ideal_bits": ideal, "coded_bits": coded, "excess": coded / ideal - 1})
    return rows


def _export(a: argparse.Namespace) -> int:
    is_sound = find(json.loads((a.run / "recipe.json").read_text())["codec"]).media == "sound"
    files_of = sound_files if is_sound else picture_files
    files = files_of(a.data, a.held_back_one_in, held_back=False)
    if not files:
        raise WeightsError("no training data to calibrate on: name its folder with --data")
    step = max(1, len(files) // a.pictures)
    codec = export(a.run, [] if is_sound else files[::step][: a.pictures])
    a.output.parent.mkdir(parents=True, exist_ok=True)
    digest = save_weights(codec, a.output)
    size = a.output.stat().st_size / 1e6
    largest, limit = codec.prove_bounds()
    print(f"{a.output}: {size:.1f} MB, sha256 {digest.hex()}, largest sum {largest} of {limit}", file=sys.stderr)
    held_back = files_of(a.data, a.held_back_one_in, held_back=True)[: a.pictures]
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


def parser() -> argparse.ArgumentParser:
    """The arguments of `rarefy weights`."""
    p = argparse.ArgumentParser(
        prog="rarefy weights", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    verbs = p.add_subparsers(required=True)
    e = verbs.add_parser("export", help="make a weights file from a training run")
    e.add_argument("run", type=Path, help="folder of a complete run")
    e.add_argument("-o", "--output", type=Path, required=True, help="the safetensors file to write")
    e.add_argument("--data", type=Path, nargs="+", required=True, help="folders of the training data, to calibrate on")
    e.add_argument("--pictures", type=int, default=12, help="how many files of it")
    e.add_argument("--held-back-one-in", type=int, default=50, help="as in the recipe")
    e.set_defaults(action=_export)
    c = verbs.add_parser("convert", help="make a weights file from a checkpoint that others published")
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
