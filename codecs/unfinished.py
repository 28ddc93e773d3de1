"""Files that are written under another name beside their place, which they take when they are whole."""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

USUAL_MODE = 0o666  # less the umask, which `os.open` takes off


def place_of(target: str | os.PathLike[str]) -> Path:
    """Where a name leads: a symbolic link stays one, the file that it names is replaced.

    Raises OSError for links in a circle.
    """
    place = Path(os.path.realpath(target))
    if place.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(target))
    return place


def open_beside(place: Path, mode: int = USUAL_MODE) -> tuple[BinaryIO, Path]:
    """Open a new file with a hidden name beside a place, to write and to read; gives its path, too.

    Its permissions are those of the file at the place, or `mode` less the umask. Raises OSError that names the place.
    """
    path = place.with_name(f".{secrets.token_hex(8)}.part")
    try:
        kept = stat.S_IMODE(place.stat().st_mode) if place.is_file() else None
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        file = open(os.open(path, flags, mode if kept is None else kept), "w+b")  # noqa: SIM115  # the caller closes it
        try:
            if kept is not None:
                path.chmod(kept)
        except OSError:
            file.close()
            path.unlink()
            raise
    except OSError as error:
        error.filename = os.fspath(place)
        raise
    return file, path


def is_special(path: Path) -> bool:
    """Tell devices and pipes, which are written to and never replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


@contextmanager
def whole_file(target: Path, mode: int = USUAL_MODE) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the target's name when the block ends well and vanishes when it does not.

    A target that exists keeps its permissions; a new one gets `mode` less the umask.
    """
    if is_special(target):
        with target.open("wb") as device:
            yield device
        return
    target = place_of(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    file, temporary = open_beside(target, mode)
    try:
        with file:
            yield file
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
