"""`rarefy train RECIPE ... --compare VARIANTS`: short runs at equal time decide about sizes, rates and the rest.

VARIANTS is a TOML file of tables [[variant]] with a `name` and the overrides `set`; the first is what the others are
compared with. Each is trained for the recipe's minutes and measured on held-back data. On a CPU the time is that of
the processor, which other programs on the machine do not lengthen.
"""

import json
import re
import sys
import time
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from rarefy.errors import OptionError
from rarefy.tools.endings import ending
from rarefy.tools.environment import describe
from rarefy.tools.evaluate import evaluate_held_back, held_back_files
from rarefy.tools.metrics import bd_rate
from rarefy.tools.pools import Pool, pool_of
from rarefy.tools.recipe import Recipe, read_recipe
from rarefy.tools.train import Trainer, averaged, build_model, run

NAME = re.compile(r"[\w,-][\w ,-]*")


@dataclass(frozen=True)
class Machine:
    """What all variants share."""

    folders: list[Path]
    device: torch.device
    threads: int
    workers: int
    compile_model: bool


def read_variants(path: Path) -> list[tuple[str, list[str]]]:
    """Names and overrides; raises OptionError for a file that is not of this form."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))["variant"]
        variants = [(str(table["name"]), [str(line) for line in table.get("set", [])]) for table in tables]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise OptionError(f"{path}: not a file of variants: {error}") from error
    names = [name for name, _ in variants]
    if not names or len(set(names)) != len(names):
        raise OptionError(f"{path}: no variants, or two of one name")
    if wrong := [name for name in names if not NAME.fullmatch(name)]:
        raise OptionError(f"{path}: names are those of folders, of letters, digits, spaces, - and ,: not {wrong[0]!r}")
    return variants


def compare(recipe: Path, overrides: list[str], variants: Path, out: Path, machine: Machine) -> list[dict[str, Any]]:
    """Run all variants that `out` has no row of yet; gives the rows, which are in out/comparison.json too.

    Raises OptionError where nothing is held back to measure on, and for rows that another recipe or other data made.
    """
    chosen = [(name, lines, read_recipe(recipe, [*overrides, *lines])) for name, lines in read_variants(variants)]
    pools: dict[str, Pool] = {}
    rows: list[dict[str, Any]] = []
    for name, lines, variant in chosen:
        folder, made_of = out / name, {"recipe": _plain(variant), "folders": [str(f) for f in machine.folders]}
        if not held_back_files(machine.folders, variant.codec, variant.data.held_back_one_in):
            raise OptionError("nothing is held back there to measure variants on: other --data, or held_back_one_in")
        if not (folder / "row.json").exists():
            key = f"{variant.codec} {variant.data}"
            if key not in pools:
                pools = {key: pool_of(variant, machine.folders, machine.device, machine.workers)[0]}
            folder.mkdir(parents=True, exist_ok=True)
            for left in ("log.csv", "state.pt"):  # of a run that was cut off
                (folder / left).unlink(missing_ok=True)
            row = _run(variant, pools[key], folder, machine)
            (folder / "row.json").write_text(
                json.dumps({"name": name, "set": lines, **made_of, **row}, indent=1) + "\n"
            )
        rows.append(json.loads((folder / "row.json").read_text()))
        if any(rows[-1].get(key) != value for key, value in made_of.items()):
            raise OptionError(f"{folder} has a row of another recipe or other data: name another folder with --out")
        rows[-1]["bd_rate"] = difference(rows[-1]["held_back"], rows[0]["held_back"])
        document = {**describe(["rarefy train --compare"], machine.threads), "variants": rows}
        (out / "comparison.json").write_text(json.dumps(document, indent=1) + "\n")
        print(line_of(rows[-1]), file=sys.stderr, flush=True)
    return rows


def _plain(recipe: Recipe) -> Any:
    """The recipe as JSON gives it back."""
    return json.loads(json.dumps(asdict(recipe)))


def _run(recipe: Recipe, pool: Pool, folder: Path, machine: Machine) -> dict[str, Any]:
    trainer = Trainer(recipe, pool, build_model(recipe, pool, machine.device), machine.compile_model)
    on_cpu = machine.device.type == "cpu"

    def processor_seconds() -> float:
        return time.process_time() / machine.threads

    clock = processor_seconds if on_cpu else time.monotonic
    if stopped := run(trainer, folder, log_seconds=20, save_seconds=1e9, clock=clock):
        raise ending(stopped)  # a variant that was cut off has no row, and is trained anew
    model = averaged(trainer)
    (folder / "state.pt").unlink()
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": round(trainer.seconds, 2),
        "steps": trainer.step,
        "megapixels": round(recipe.data.positions * recipe.train.batch * trainer.step / 1e6, 1),
        "held_back": evaluate_held_back(model, machine.folders, recipe.data.held_back_one_in),
    }


def difference(row: list[dict[str, float]], anchor: list[dict[str, float]]) -> float | None:
    """BD-rate of one held-back curve against another, a fraction; None where they share no quality."""
    (rates, fidelities), (anchor_rates, anchor_fidelities) = (
        ([point["bits_per_pixel"] for point in curve], [point["psnr"] for point in curve]) for curve in (row, anchor)
    )
    return bd_rate(rates, fidelities, anchor_rates, anchor_fidelities)


def line_of(row: dict[str, Any]) -> str:
    """One row as text."""
    change = "   none" if row["bd_rate"] is None else f"{row['bd_rate']:+7.2%}"
    ends = [f"{p['bits_per_pixel']:.4f} bpp {p['psnr']:.2f} dB" for p in (row["held_back"][0], row["held_back"][-1])]
    size = f"{row['parameters'] / 1e6:6.2f} M  {row['steps']:>6} steps  {row['seconds']:6.0f} s"
    return f"{row['name']:<24} {size}  {change}  {' to '.join(ends)}"
