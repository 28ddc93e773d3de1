"""A file in pieces, for machines whose results come back in small files: name.000, name.001 …, and name.sha256."""

import hashlib
from pathlib import Path

from rarefy.errors import WeightsError


def split(path: Path, piece_bytes: int) -> None:
    """Write the bytes of `path` once more, as pieces beside it, and remove pieces of before that are too many."""
    count, digest = 0, hashlib.sha256()
    with path.open("rb") as whole:
        while piece := whole.read(piece_bytes):
            _piece(path, count).write_bytes(piece)
            digest.update(piece)
            count += 1
    _sum(path).write_text(digest.hexdigest() + "\n")
    while _piece(path, count).exists():
        _piece(path, count).unlink()
        count += 1


def join(path: Path) -> bool:
    """Make `path` of its pieces where it is not there itself; says whether it is there now.

    Raises WeightsError where pieces are missing or damaged.
    """
    if path.exists() or not (_sum(path).exists() or _piece(path, 0).exists()):
        return path.exists()
    part, digest, count = path.with_name(path.name + ".part"), hashlib.sha256(), 0
    with part.open("wb") as whole:
        while _piece(path, count).exists():
            piece = _piece(path, count).read_bytes()
            digest.update(piece)
            whole.write(piece)
            count += 1
    if not _sum(path).exists() or digest.hexdigest() != _sum(path).read_text().strip():
        part.unlink()
        raise WeightsError(f"{path}: its {count} pieces are not all, or not whole, or {_sum(path).name} is missing")
    part.replace(path)
    return True


def _sum(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _piece(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number:03d}")
