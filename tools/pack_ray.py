"""Packing on a Ray cluster: workers read and code files, one process writes the shards, in order.

So shards and manifest are those of a run on one machine, and a worker that dies costs the few files that it had: Ray
gives them to another. All machines see the folder of them under one path, and have rarefy with the same weights.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from rarefy.errors import RarefyError

Item = TypeVar("Item")
Result = TypeVar("Result")

TOGETHER = 16  # items of one task
AHEAD = 3  # tasks for each processor of the cluster that wait or run
RETRIES = 8  # of a task whose worker died


def on_ray(
    items: Sequence[Item], work: Callable[[list[Item]], list[Result]], address: str
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with what `work` made of it, in order; `work` goes to the workers by its name.

    address: of a cluster, or "auto" for the one that this machine belongs to. Raises RarefyError where ray or the
    cluster is not there.
    """
    ray = _connected(address)
    task = ray.remote(max_retries=RETRIES)(_apply)
    most = AHEAD * max(int(ray.cluster_resources().get("CPU", 1)), 1)
    source = iter(items)
    waiting: deque[tuple[list[Item], Any]] = deque()
    while True:
        while len(waiting) < most and (some := list(islice(source, TOGETHER))):
            waiting.append((some, task.remote(work, some)))
        if not waiting:
            return
        some, future = waiting.popleft()
        yield from zip(some, _result(ray, future), strict=True)


def _result(ray: Any, future: Any) -> Any:
    try:
        return ray.get(future)
    except ray.exceptions.RayTaskError as error:  # what `work` raised, without the cluster's traceback in its words
        raise error.cause from error
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[:200]
        raise RarefyError(f"the cluster gave up ({reason}): the same command goes on when it is there again") from error


def _apply(work: Callable[[list[Item]], list[Result]], items: list[Item]) -> list[Result]:
    return work(items)


def _connected(address: str) -> Any:
    try:
        import ray
    except ImportError as error:
        raise RarefyError('packing on a cluster needs ray: pip install "rarefy[ray]"') from error
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False)
        except ConnectionError as error:
            raise RarefyError(f"no Ray cluster is at {address!r}: start one with ray start --head") from error
    return ray
