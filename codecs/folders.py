"""Folders: which files lie in one, and who works in it."""

import errno
import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from rarefy.errors import OptionError, RarefyError

HAS_LOCKS = find_spec("fcntl") is not None  # not on Windows


def _raise(error: OSError) -> None:
    raise error


def visible_files(folder: Path, fail: Callable[[OSError], object] = _raise) -> Iterator[str]:
    """Yield the files below a folder, by their paths in it, through links to folders too, but into none twice.

    Hidden ones do not count, nor do devices and pipes; links that lead nowhere do. fail: takes the errors of folders
    that cannot be read; by default the first is raised.
    """
    for parent, names in _walk(folder, fail):
        for name in names:
            path = Path(parent) / name
            if not name.startswith(".") and (path.is_file() or not path.exists()):
                yield (Path(parent).relative_to(folder) / name).as_posix()


def visible_folders(folder: Path, fail: Callable[[OSError], object] = _raise) -> Iterator[str]:
    """Yield a folder and those below it that `visible_files` looks into."""
    for parent, _ in _walk(folder, fail):
        yield parent


def _walk(folder: Path, fail: Callable[[OSError], object]) -> Iterator[tuple[str, list[str]]]:
    seen = {os.path.realpath(folder)}
    for parent, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        real = {os.path.realpath(os.path.join(parent, name)): name for name in sorted(folders, reverse=True)}
        folders[:] = sorted(name for path, name in real.items() if not name.startswith(".") and path not in seen)
        seen.update(real)
        yield parent, names


def hold(folder: Path, work: str) -> int:
    """Hold a folder until the descriptor is closed, by this process or by its end.

    Raises OptionError where another process does `work` there, RarefyError on systems without locks of files.
    """
    if not HAS_LOCKS:
        raise RarefyError(f"{work} needs a system with file locks, such as Linux or macOS")
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise OptionError(f"{folder}: another process is {work} there") from error
        raise
    return descriptor
