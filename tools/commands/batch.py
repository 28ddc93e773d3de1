"""Works on many files: reads ahead, codes small media of equal size together, writes behind, reports in order.

Memory is bounded: what is loaded ahead, what is coded together and what waits to be written each have a budget.
"""

import errno
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from time import perf_counter
from typing import Generic, NamedTuple, Protocol, TypeVar

from rarefy.tools.commands.ahead import Ahead
from rarefy.tools.files import Job, is_stream
from rarefy.tools.terminal import Refusal

Coded = TypeVar("Coded")
Result = TypeVar("Result")

TOGETHER = 16  # media in one run of the networks: more gains nothing that can be measured
TOGETHER_PIXELS = 1 << 20  # in one run: larger ones keep all cores busy one by one
WINDOW = 64  # media among which those of equal size are looked for
WINDOW_PIXELS = 1 << 22
BUDGET = 1 << 26  # bytes loaded ahead, and pixels that wait to be written
THREADS = 2  # that read, and as many that write
DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT}


class Sized(Protocol):
    """A medium that is loaded. Those of equal `shape` may be coded together; None is coded alone."""

    @property
    def shape(self) -> Hashable: ...

    @property
    def pixels(self) -> int:
        """How many there are; 0 where it is not known."""

    @property
    def size_bytes(self) -> int:
        """The memory that it takes."""


Loaded = TypeVar("Loaded", bound=Sized)


@dataclass(frozen=True)
class Stages(Generic[Loaded, Coded, Result]):
    """What is done with each job. `load` and `finish` run in threads, the others in the caller's.

    code: takes media of equal shape and gives as many results. report: the job, its result and the milliseconds that
    coding took. fail: says what went wrong and gives the exit code. stopped: set when the batch ends early, for a
    `finish` that takes long.
    """

    load: Callable[[Job], Loaded]
    code: Callable[[Sequence[Loaded]], Sequence[Coded]]
    finish: Callable[[Job, Coded], Result]
    report: Callable[[Job, Result, float], None]
    fail: Callable[[Job, Exception], int]
    stopped: Event = field(default_factory=Event)


class _Waiting(NamedTuple, Generic[Result]):
    """A job whose result is being written."""

    job: Job
    result: "Future[Result]"
    milliseconds: float
    pixels: int


class Batch(Generic[Loaded, Coded, Result]):
    """Runs jobs through stages once; see the module."""

    def __init__(self, jobs: Sequence[Job], stages: Stages[Loaded, Coded, Result]) -> None:
        self._jobs, self._stages = jobs, stages
        self._waiting: deque[_Waiting[Result]] = deque()
        self._waiting_pixels = 0
        self._reported = 0
        self._writers = ThreadPoolExecutor(THREADS)

    def run(self) -> int:
        """Do every job, go on after failures, and return the worst exit code.

        A broken pipe or a full disk ends the batch at once: the rest would fail too.
        """
        worst = 0
        ahead = Ahead(self._jobs, self._stages.load, lambda loaded: loaded.size_bytes, BUDGET, THREADS)
        try:
            for window in _windows(ahead):
                self._work(window)
                worst = max(worst, self._report(is_last=False))
            return max(worst, self._report(is_last=True))
        except BaseException:
            self._stages.stopped.set()
            raise
        finally:
            ahead.close()
            self._writers.shutdown(cancel_futures=True)  # pictures that are half written become whole first

    def _work(self, window: "_Window[Loaded]") -> None:
        """Code a window and hand its results, in order, to those that write."""
        outcomes: dict[int, _Waiting[Result]] = {}
        for numbers in _groups(window):
            jobs = [window[number][0] for number in numbers]
            media = [loaded for number in numbers if not isinstance(loaded := window[number][1], Exception)]
            if media:
                outcomes |= zip(numbers, self._code(jobs, media), strict=True)
            else:  # an error is a group of its own
                outcomes |= {number: _failed(*window[number]) for number in numbers}
        for number in range(len(window)):
            self._waiting.append(outcomes[number])
            self._waiting_pixels += outcomes[number].pixels

    def _code(self, jobs: list[Job], media: list[Loaded]) -> list[_Waiting[Result]]:
        """Code media together; where that fails, one by one, so that an error is that of one file."""
        begin = perf_counter()
        try:
            coded = self._stages.code(media)
        except Exception as error:
            if len(jobs) == 1:
                return [_failed(jobs[0], error)]
            return [self._code([job], [medium])[0] for job, medium in zip(jobs, media, strict=True)]
        milliseconds = 1000 * (perf_counter() - begin) / len(jobs)
        return [
            _Waiting(job, self._finish(job, one), milliseconds, medium.pixels)
            for job, one, medium in zip(jobs, coded, media, strict=True)
        ]

    def _finish(self, job: Job, coded: Coded) -> "Future[Result]":
        if not is_stream(job.target):
            return self._writers.submit(self._stages.finish, job, coded)
        future: Future[Result] = Future()  # here, where an interrupt can end a wait for the reader of a pipe
        try:
            future.set_result(self._stages.finish(job, coded))
        except Exception as error:
            future.set_exception(error)
        return future

    def _report(self, is_last: bool) -> int:
        """Report what is written, and wait for what is not where too much waits, or where nothing else comes."""
        worst = 0
        while self._waiting and (is_last or self._must_wait() or self._waiting[0].result.done()):
            first = self._waiting.popleft()
            self._waiting_pixels -= first.pixels
            worst = max(worst, self._report_one(first))
            self._reported += 1
        return worst

    def _must_wait(self) -> bool:
        return self._waiting_pixels > BUDGET or len(self._waiting) > WINDOW

    def _report_one(self, waiting: _Waiting[Result]) -> int:
        error = waiting.result.exception()
        if error is None:
            self._stages.report(waiting.job, waiting.result.result(), waiting.milliseconds)
            return 0
        if isinstance(error, BrokenPipeError) or not isinstance(error, Exception):
            raise error
        is_last = self._reported + 1 == len(self._jobs)
        if not is_last and isinstance(error, OSError) and error.errno in DISK_IS_FULL:
            raise self._disk_is_full(error, waiting.job)
        return self._stages.fail(waiting.job, error)

    def _disk_is_full(self, error: OSError, job: Job) -> Refusal:
        """Tell that a run ends early; files after this one may be whole, if they were small enough."""
        end = f"the run ends after {self._reported} of {len(self._jobs)} files"
        sentence = f"{error.filename or job.target}: there is no room on the disk, {end}"
        return Refusal(sentence, "make room and run the same command with --skip-existing")


_Window = list[tuple[Job, Loaded | Exception]]


def _windows(ahead: Ahead[Job, Loaded]) -> "Iterator[_Window[Loaded]]":
    """Yield the loaded media in order, as many together as may be looked at for equal sizes."""
    window: list[tuple[Job, Loaded | Exception]] = []
    pixels = 0
    for job, loaded in ahead:
        window.append((job, loaded))
        pixels += 0 if isinstance(loaded, Exception) else loaded.pixels
        if len(window) == WINDOW or pixels >= WINDOW_PIXELS:
            yield window
            window, pixels = [], 0
    if window:
        yield window


def _groups(window: "_Window[Loaded]") -> Iterator[list[int]]:
    """Yield the numbers of what is coded together, errors and media of no shape one by one."""
    open_groups: dict[Hashable, list[int]] = {}
    for number, (_, loaded) in enumerate(window):
        if isinstance(loaded, Exception) or loaded.shape is None:
            yield [number]
            continue
        group = open_groups.setdefault(loaded.shape, [])
        group.append(number)
        if len(group) == TOGETHER or (len(group) + 1) * loaded.pixels > TOGETHER_PIXELS:
            yield open_groups.pop(loaded.shape)
    yield from open_groups.values()


def _failed(job: Job, error: Exception | Sized) -> "_Waiting[Result]":
    assert isinstance(error, Exception)
    future: Future[Result] = Future()
    future.set_exception(error)
    return _Waiting(job, future, 0.0, 0)
