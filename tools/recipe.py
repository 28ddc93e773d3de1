"""Recipes: the TOML file that says how a codec is trained, read strictly (unknown and missing keys are errors)."""

import dataclasses
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rarefy.codecs.registry import find
from rarefy.entropy.likelihood import ROUNDINGS
from rarefy.errors import OptionError
from rarefy.tools.parts import PARTS


@dataclass(frozen=True)
class DataRecipe:
    """Where patches come from; sizes in pixels."""

    patch: int
    scales: tuple[float, ...]
    drawn: float
    held_back_one_in: int

    @property
    def positions(self) -> int:
        """Pixels of a patch."""
        return self.patch**2


@dataclass(frozen=True)
class SoundRecipe:
    """Where crops of sound come from. crop: samples; slow_one_in: which part of the files of lower rates is taken."""

    crop: int
    slow_one_in: int
    held_back_one_in: int

    @property
    def positions(self) -> int:
        """Samples of a crop."""
        return self.crop


@dataclass(frozen=True)
class TrainRecipe:
    """The schedule and the optimisers; see the comments of recipes/image.toml."""

    batch: int
    minutes: float
    warmup_steps: int
    decay_from: float
    adam: float
    muon: float
    muon_every: int
    clip: float
    ema: float
    weight_power: float
    cost_power: float
    gradients: str
    paid: tuple[float, float]
    part: str
    seed: int


@dataclass(frozen=True)
class Recipe:
    """A whole recipe; `model` holds the fields of the codec's own config."""

    codec: str
    model: dict[str, Any]
    data: DataRecipe | SoundRecipe
    train: TrainRecipe


# The least and the largest value of numbers, where 0 and no end are not right for them
RANGES = {
    "patch": (64, math.inf),
    "crop": (1, math.inf),
    "drawn": (0, 0.9),
    "slow_one_in": (1, math.inf),
    "batch": (1, math.inf),
    "warmup_steps": (1, math.inf),
    "decay_from": (0, 0.999),
    "muon_every": (1, math.inf),
    "ema": (0, 1),
    "cost_power": (-math.inf, math.inf),
    "weight_power": (-math.inf, math.inf),
}


def _check(section: "DataRecipe | SoundRecipe | TrainRecipe") -> None:
    """Raise OptionError for numbers that are none, or that no training can have."""
    for field in dataclasses.fields(section):
        if field.type not in (int, float):
            continue
        value, kind = getattr(section, field.name), int if field.type is int else int | float
        low, high = RANGES.get(field.name, (0, math.inf))
        if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
            whole = "a whole number" if field.type is int else "a number"
            limit = f" from {low:g}" * (low > -math.inf) + f" to {high:g}" * (high < math.inf)
            raise OptionError(f"{field.name} is {whole}{limit}, not {value!r}")


def _strictly(cls: type, table: dict[str, Any], where: str) -> Any:
    fields = {f.name for f in dataclasses.fields(cls)}
    if wrong := fields.symmetric_difference(table):
        raise OptionError(f"{where}: these keys are unknown or missing: {', '.join(sorted(wrong))}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()})


def read_recipe(path: Path, overrides: list[str]) -> Recipe:
    """Read a recipe; overrides are TOML assignments such as "train.batch = 4"."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        for line in overrides:
            name, equals, value = line.partition("=")
            if not equals:
                raise ValueError(f"{line!r} is no assignment")
            section, key = name.strip().split(".")
            tables[section][key] = tomllib.loads("x = " + value)["x"]
    except (OSError, KeyError, ValueError) as error:
        raise OptionError(f"{path}: not a recipe, or a wrong override: {error}") from error
    codec = tables.get("codec")
    is_sound = isinstance(codec, str) and find(codec).media == "sound"
    tables["data"] = _strictly(SoundRecipe if is_sound else DataRecipe, tables.get("data", {}), f"{path} [data]")
    tables["train"] = _strictly(TrainRecipe, tables.get("train", {}), f"{path} [train]")
    recipe: Recipe = _strictly(Recipe, tables, str(path))
    _check(recipe.data)
    _check(recipe.train)
    if recipe.train.gradients not in ROUNDINGS:
        raise OptionError(f'train.gradients is one of {", ".join(ROUNDINGS)}, not "{recipe.train.gradients}"')
    paid = recipe.train.paid
    if not isinstance(paid, tuple) or len(paid) != 2 or not min(paid) > 0:
        raise OptionError(f"train.paid is two numbers above 0, not {paid}")
    if recipe.train.part not in PARTS:
        raise OptionError(f'train.part is one of {", ".join(PARTS)}, not "{recipe.train.part}"')
    return recipe
