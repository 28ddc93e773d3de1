"""Torch's threads: their number for a call, and units of a file side by side.

One thread a unit is faster than all threads on one unit after the other, and always the same arithmetic: a region comes
out as in the whole picture, whatever the number of threads is.
"""

import operator
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from rarefy.errors import OptionError

_lock = threading.Lock()
_users = 0
_default = 1  # torch's number before the first of the users changed it
_is_forked = False


def _note_fork() -> None:
    """OpenMP's threads do not live on in a forked process, which would wait for them forever: one thread is enough."""
    global _is_forked, _lock, _users
    _is_forked, _lock, _users = True, threading.Lock(), 0
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def whole_number(value: Any, name: str) -> int:
    """Take an integer of any kind as Python's; raises OptionError for what is none."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise OptionError(f"{name} {value!r}: it is a whole number") from error


@contextmanager
def threads_of_torch(count: int | None) -> Iterator[None]:
    """Torch's threads while this runs: no more than processors, one in a forked process; the old number comes back.

    Raises OptionError for what is no number above 0.
    """
    if count is not None:
        count = min(whole_number(count, "threads"), os.cpu_count() or 1)
        if count < 1:
            raise OptionError(f"threads {count}: it is a whole number from 1")
    if _is_forked:
        count = 1
    if count is None:
        yield
        return
    with _restored():
        torch.set_num_threads(count)
        yield


@contextmanager
def side_by_side(most: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """A pool for the units of one file: as many threads as torch has, or `most`, and one of torch's in each."""
    count = min(torch.get_num_threads(), most or torch.get_num_threads())
    with _restored(), ThreadPoolExecutor(count, "rarefy", torch.set_num_threads, (1,)) as pool:
        yield pool


@contextmanager
def _restored() -> Iterator[None]:
    """Bring torch's number of threads back: that of this thread, and after the last user the one of new threads.

    Each thread has a number of its own, but new ones begin with the number that any of them set last.
    """
    global _users, _default
    before = torch.get_num_threads()
    with _lock:
        if not _users:
            _default = before
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            torch.set_num_threads(before if _users else _default)
