"""Units side by side: as many threads as torch would use, and one of torch's own in each.

One thread a unit is faster than all threads on one unit after the other, and always the same arithmetic: a region comes
out as in the whole picture, whatever the number of threads is.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_users = 0


@contextmanager
def side_by_side() -> Iterator[ThreadPoolExecutor]:
    """A pool for the units of one file. Torch's number of threads is afterwards what it was."""
    global _users
    threads = torch.get_num_threads()
    with _lock:
        _users += 1
    try:
        with ThreadPoolExecutor(threads, "rarefy", torch.set_num_threads, (1,)) as pool:
            yield pool
            pool.shutdown(cancel_futures=True)
    finally:
        with _lock:
            _users -= 1
            if not _users:  # the number of a thread is its own, but new threads begin with the number set last
                torch.set_num_threads(threads)
