"""`rarefy train recipes/image.toml --data DIR... --out RUN`: trains a codec, compares variants of a recipe, or packs a
run for another machine.

The state is saved at intervals and on SIGTERM or Ctrl-C, and the same command goes on from there exactly.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError

import torch

from rarefy.codecs.folders import held
from rarefy.codecs.weights import require_device
from rarefy.errors import OptionError
from rarefy.tools.arguments import WithDefaults
from rarefy.tools.bundle import write_bundle
from rarefy.tools.checkpoint import start_from, write_weights
from rarefy.tools.compare import Machine, compare
from rarefy.tools.endings import ending
from rarefy.tools.evaluate import evaluate_held_back
from rarefy.tools.pieces import join, split
from rarefy.tools.pools import pool_of
from rarefy.tools.recipe import Recipe, read_recipe
from rarefy.tools.train import Trainer, averaged, build_model, run
from rarefy.tools.training_log import say

WHOLE = 10**6  # megabytes of a piece where nothing is split


def parser() -> argparse.ArgumentParser:
    """The arguments of `rarefy train`."""
    p = argparse.ArgumentParser(prog="rarefy train", description=__doc__, formatter_class=WithDefaults)
    p.add_argument("recipe", type=Path, help="a TOML file of recipes/")
    p.add_argument("--data", type=Path, nargs="+", required=True, help="folders of pictures, or of sounds")
    where = p.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, help="folder for state, log and curve")
    where.add_argument("--bundle", type=Path, help="write the run as a tar file for another machine, and do not train")
    p.add_argument("--bundle-megabytes", type=float, default=60, help="largest size of that file")
    p.add_argument(
        "--compare", type=Path, metavar="VARIANTS", help="train the recipe's variants in this TOML file, a row each"
    )
    p.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help='override, such as "train.minutes=30"')
    p.add_argument("--start", type=Path, help="weights (safetensors, or the folder of a run) to start from")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda if there is one")
    p.add_argument("--threads", type=int, default=1, help="CPU threads")
    p.add_argument("--workers", type=int, default=1, help="processes that read the pictures at the start")
    p.add_argument("--compile", action="store_true", help="torch.compile the loss")
    p.add_argument("--piece-megabytes", type=int, help="largest file of weights and state; whole without it")
    p.add_argument("--log-seconds", type=float, default=60, help="between rows of the log")
    p.add_argument("--save-seconds", type=float, default=600, help="between states")
    return p


def _passed_on(a: argparse.Namespace) -> list[str]:
    """The arguments that a bundle's script repeats; what belongs to the machine is left to it."""
    options = [f"--log-seconds={a.log_seconds:g}", f"--save-seconds={a.save_seconds:g}"]
    if a.piece_megabytes:
        options.append(f"--piece-megabytes={a.piece_megabytes}")
    return [*options, "--compile"] if a.compile else options


def _resume(trainer: Trainer, path: Path) -> None:
    try:
        trainer.load_state_dict(torch.load(path, map_location=trainer.device, weights_only=True))
    except (RuntimeError, ValueError, KeyError, TypeError, EOFError, UnpicklingError) as error:
        words = str(error).splitlines()[0] if str(error) else "it ends too early"
        hint = "for another train.part, --start from this folder and name another --out"
        raise OptionError(f"{path}: damaged, or the state of another recipe; {hint} ({words})") from error


def main(argv: list[str]) -> int:
    """Run the command; gives its exit code."""
    a = parser().parse_args(argv)
    if a.compare and (a.bundle or a.start or a.piece_megabytes is not None):
        raise OptionError("--compare trains from scratch and here: no --bundle, --start or --piece-megabytes with it")
    if a.piece_megabytes is not None and a.piece_megabytes < 1:
        raise OptionError(f"pieces of {a.piece_megabytes} megabytes: at least 1")
    if a.threads < 1 or a.workers < 1:
        raise OptionError(f"{a.threads} threads and {a.workers} workers: at least 1 of each")
    recipe = read_recipe(a.recipe, a.set)
    if a.bundle:
        print(write_bundle(a.bundle, recipe, a.data, a.start, _passed_on(a), a.bundle_megabytes), file=sys.stderr)
        return 0
    device = _device(a.device)
    torch.set_num_threads(a.threads)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    with held(a.out, "training"):
        if a.compare:
            compare(a.recipe, a.set, a.compare, a.out, Machine(a.data, device, a.threads, a.workers, a.compile))
        else:
            _train(a, recipe, device)
    return 0


def _train(a: argparse.Namespace, recipe: Recipe, device: torch.device) -> None:
    """Train in a folder that is ours. After a signal and a save, raises what the signal stands for."""
    patches, words = pool_of(recipe, a.data, device, a.workers)
    say(words)
    model = build_model(recipe, patches, device)
    if a.start:
        start_from(model, a.start, grow=True)
    trainer = Trainer(recipe, patches, model, a.compile)
    if join(a.out / "state.pt"):
        if a.start:
            raise OptionError(f"{a.out} holds a state already: leave out --start to resume it, or name another folder")
        _resume(trainer, a.out / "state.pt")
    (a.out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n")
    stopped = run(trainer, a.out, log_seconds=a.log_seconds, save_seconds=a.save_seconds)
    if a.piece_megabytes:
        split(a.out / "state.pt", a.piece_megabytes * 10**6)
    say("stopped; the same command goes on" if stopped else "complete")
    if stopped:
        raise ending(stopped)
    model = averaged(trainer)
    write_weights(model, a.out, (a.piece_megabytes or WHOLE) * 10**6)
    results = evaluate_held_back(model, a.data, recipe.data.held_back_one_in)
    (a.out / "held-back.json").write_text(json.dumps(results, indent=1) + "\n")
    for row in results:
        say("quality {quality:3.0f}  {bits_per_pixel:.4f} bpp  {psnr:.2f} dB".format(**row))


def _device(name: str) -> torch.device:
    """The device of that name; raises OptionError where there is none."""
    require_device(name)
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise OptionError(f"device {name!r}: there is none here")
    return device
