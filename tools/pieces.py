"""A file in pieces, for machines whose results come back in small files: name, name.000, name.001 …"""

from pathlib import Path


def split(path: Path, piece_bytes: int) -> None:
    """Write the bytes of `path` once more, as pieces beside it, and remove pieces of before that are too many."""
    count = 0
    with path.open("rb") as whole:
        while piece := whole.read(piece_bytes):
            _piece(path, count).write_bytes(piece)
            count += 1
    while _piece(path, count).exists():
        _piece(path, count).unlink()
        count += 1


def join(path: Path) -> bool:
    """Make `path` of its pieces where it is not there itself; says whether it is there now."""
    if path.exists() or not _piece(path, 0).exists():
        return path.exists()
    part = path.with_name(path.name + ".part")
    with part.open("wb") as whole:
        count = 0
        while _piece(path, count).exists():
            whole.write(_piece(path, count).read_bytes())
            count += 1
    part.replace(path)
    return True


def _piece(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number:03d}")
