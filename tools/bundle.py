"""`rarefy train ... --bundle FILE`: a run as one tar file for a machine that has torch and nothing else of ours.

It holds the package's code, the recipe with its overrides, the weights to start from, what is held back of the data,
and as much of the rest as a limit of size lets in, by the hash of each file's name. `sh run.sh OUT` in the unpacked
folder trains; on another day the same line goes on.
"""

import hashlib
import io
import json
import os
import shlex
import tarfile
from dataclasses import asdict
from pathlib import Path

import rarefy
from rarefy.codecs.registry import is_own
from rarefy.errors import OptionError
from rarefy.tools.checkpoint import pieces_in
from rarefy.tools.pools import files_of
from rarefy.tools.recipe import Recipe, SoundRecipe

CODE = ("*.py", "py.typed", "*.toml")
NOT_CODE = {"tests", "docs", "results", "build", "examples", "recipes", "dist", "demo"}
BLOCK = 512  # a tar's: each file takes one for its name, and whole ones for its bytes
LONG = 100  # bytes of a name that its block has no place for
ROOM_FOR_TEXTS = 40_000  # the script, the recipe and the tar's own end, rounded to its records

NEEDS = ("torch, numpy, Pillow and safetensors", "torch, numpy, safetensors, soundfile and soxr")  # pictures, sounds

SCRIPT = """#!/bin/sh
# A training of codec {codec}, as `rarefy train --bundle` wrote it: sh run.sh OUT [options of rarefy train]
# Needs python3 with {needs}. OUT keeps the state: the same line goes on from there.
set -e
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
out=${{1:?usage: sh run.sh OUT [options of rarefy train]}}
shift
start={start}
if [ -e "$out/state.pt" ] || [ -e "$out/state.pt.000" ]; then start=; fi
export PYTHONPATH="$here${{PYTHONPATH:+:$PYTHONPATH}}"
exec "${{PYTHON:-python3}}" -m rarefy train "$here/recipe.toml" --data "$here/data" --out "$out" \\
    ${{start:+--start "$here/$start"}} --workers "$(nproc || echo 1)" {options} "$@"
"""


Entry = tuple[str, Path]  # the name in the tar file, and what is there


def write_bundle(
    path: Path, recipe: Recipe, folders: list[Path], start: Path | None, options: list[str], megabytes: float
) -> str:
    """Write the tar file, of at most so many megabytes (10^6 bytes); gives what it holds in words.

    options: further arguments of `rarefy train` for the other machine. Raises OptionError where the held-back data have
    no room.
    """
    if not is_own(recipe.codec):
        raise OptionError(f'codec "{recipe.codec}" is of another package, which a bundle does not hold')
    if lost := [str(folder) for folder in folders if not folder.is_dir()]:
        raise OptionError(f"no such folder: {', '.join(lost)}")
    weights = _weights(start)
    script = SCRIPT.format(
        codec=recipe.codec,
        needs=NEEDS[isinstance(recipe.data, SoundRecipe)],
        start=weights[0][0].split("/")[0] if weights else "",
        options=shlex.join(options),
    )
    fixed = [*_code(Path(rarefy.__file__).parent), *weights]
    held_back, rest = (_data(recipe, folders, held_back=side) for side in (True, False))
    room = megabytes * 1e6 - ROOM_FOR_TEXTS - sum(_taken(entry) for entry in fixed)
    chosen: list[Entry] = []
    for entry in [*held_back, *rest]:
        if _taken(entry) <= room:
            chosen.append(entry)
            room -= _taken(entry)
    if not rest:
        raise OptionError(f"nothing to train on in {', '.join(map(str, folders))}")
    if set(held_back) - set(chosen) or len(chosen) == len(held_back):
        raise OptionError(f"{megabytes:g} megabytes have no room for data beside the code and the weights")
    part = path.with_name(path.name + ".part")
    with tarfile.open(part, "w", format=tarfile.GNU_FORMAT, dereference=True) as tar:  # links lead nowhere elsewhere
        _add_text(tar, "run.sh", script)
        _add_text(tar, "recipe.toml", recipe_text(recipe))
        for name, file in [*fixed, *chosen]:
            tar.add(file, name, recursive=False, filter=_anonymous)
    part.replace(path)
    size, trained = path.stat().st_size / 1e6, len(chosen) - len(held_back)
    return f"{path}: {size:.1f} MB, {trained} of {len(rest)} files to train on, {len(held_back)} held back"


def _code(package: Path) -> list[Entry]:
    """What the package needs to train: Python alone."""
    files = sorted(file for pattern in CODE for file in package.rglob(pattern))
    inside = [(file.relative_to(package), file) for file in files]
    return [
        (f"rarefy/{name}", file)
        for name, file in inside
        if len(name.parts) == 1
        or (name.parts[0] not in NOT_CODE and (package / name.parts[0] / "__init__.py").is_file())
    ]


def _weights(start: Path | None) -> list[Entry]:
    if start is None:
        return []
    if start.is_file():
        return [("start.safetensors", start)]
    pieces = [(f"start/{piece.name}", piece) for piece in pieces_in(start)]
    if not pieces:
        raise OptionError(f"{start}: no weights to start from there")
    return pieces


def _data(recipe: Recipe, folders: list[Path], held_back: bool) -> list[Entry]:
    """One side of the split in the order of the names' hashes; a file keeps its name, which decides its side."""
    one_in = recipe.data.held_back_one_in
    found: dict[str, Entry] = {}
    for number, folder in enumerate(folders):
        for file in files_of(recipe.codec, [folder], one_in, held_back=held_back):
            found.setdefault(os.path.abspath(file), (f"data/{number}/{file.relative_to(folder)}", file))
    return sorted(found.values(), key=lambda entry: hashlib.sha1(os.fsencode(entry[0])).digest())


def _taken(entry: Entry) -> int:
    """Bytes of the tar file that one file takes; a long name takes two blocks or more."""
    name, file = entry
    header = 1 if len(os.fsencode(name)) < LONG else 3 + len(os.fsencode(name)) // BLOCK
    return (header - (-file.stat().st_size // BLOCK)) * BLOCK


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without what differs from one machine to the next."""
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    info.mode = 0o644
    return info


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode()
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def recipe_text(recipe: Recipe) -> str:
    """A recipe as TOML, with the overrides that it was read with."""
    tables = asdict(recipe)
    lines = [f"codec = {json.dumps(tables.pop('codec'))}"]
    for section, table in tables.items():
        lines += ["", f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"
