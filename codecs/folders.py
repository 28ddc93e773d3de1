"""Folders: which files lie in one, and who works in it."""

import errno
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from rarefy.errors import OptionError, RarefyWarning

HAS_LOCKS = find_spec("fcntl") is not None  # not on Windows
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}  # of file systems


def _raise(error: OSError) -> None:
    raise error


def visible_files(folder: Path, fail: Callable[[OSError], object] = _raise) -> Iterator[str]:
    """Yield the files below a folder, by their paths in it, through links to folders too, but into none twice.

    Hidden ones do not count, nor do devices and pipes; links that lead nowhere do. A folder that is reached by its own
    name and by links is gone through by its own. fail: takes the errors of folders that cannot be read; by default the
    first is raised.
    """
    for parent, names in _walk(folder, fail):
        for name in names:
            path = Path(parent) / name
            if not name.startswith(".") and may_be_file(path):
                yield (Path(parent).relative_to(folder) / name).as_posix()


def visible_folders(folder: Path, fail: Callable[[OSError], object] = _raise) -> Iterator[str]:
    """Yield a folder and those below it that `visible_files` looks into."""
    for parent, _ in _walk(folder, fail):
        yield parent


def may_be_file(path: Path) -> bool:
    """Whether reading is worth a try, or tells why it is not: no folder, device or pipe."""
    try:
        return path.is_file() or not path.exists()
    except OSError:
        return True


def _walk(folder: Path, fail: Callable[[OSError], object]) -> Iterator[tuple[str, list[str]]]:
    seen = set[str]()
    waiting = deque([os.fspath(folder)])
    while waiting:
        for parent, folders, names in os.walk(waiting.popleft(), onerror=fail):
            if (real := os.path.realpath(parent)) in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            links = (os.path.join(parent, name) for name in folders)
            waiting.extend(link for link in links if os.path.islink(link))  # which os.walk leaves alone
            yield parent, names


def hold(folder: Path, work: str, stacklevel: int = 3) -> int | None:
    """Hold a folder until the descriptor is closed, by this process or by its end.

    Where the system or the file system knows no locks there is no descriptor, and a RarefyWarning says so. Raises
    OptionError where another process does `work` there. stacklevel: of the warning.
    """
    descriptor = _locked(folder, work) if HAS_LOCKS else None
    if descriptor is None:
        warnings.warn(
            f"{folder}: no locks here: see that nothing else is {work} there", RarefyWarning, stacklevel=stacklevel
        )
    return descriptor


def _locked(folder: Path, work: str) -> int | None:
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        error.filename = os.fspath(folder)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise OptionError(f"{folder}: another process is {work} there") from error
        if error.errno in NO_LOCKS:
            return None
        raise
    return descriptor


@contextmanager
def held(folder: Path, work: str) -> Iterator[None]:
    """Make a folder and `hold` it meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = hold(folder, work, stacklevel=5)  # behind contextlib
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)
