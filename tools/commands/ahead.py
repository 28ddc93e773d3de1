"""Loads what comes next while the present is worked on, in a few threads and in bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from threading import Condition, Thread
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


class _Outcome(NamedTuple, Generic[Loaded]):
    """What loading gave: a value and its weight in bytes, or an error."""

    value: Loaded | None
    error: BaseException | None
    weight: int


class Ahead(Generic[Item, Loaded]):
    """Iterates over items and what `load` makes of them, in order; an error stands in for what did not load.

    weigh: bytes that a loaded value takes. budget: bytes above which no further loading starts, so that at most
    `budget` and one value a thread are held. The threads are daemons: one that waits for a pipe keeps no program alive.
    """

    def __init__(
        self,
        items: Sequence[Item],
        load: Callable[[Item], Loaded],
        weigh: Callable[[Loaded], int],
        budget: int,
        threads: int,
    ) -> None:
        self._items, self._load, self._weigh, self._budget = items, load, weigh, budget
        self._changed = Condition()
        self._outcomes: dict[int, _Outcome[Loaded]] = {}
        self._next = self._held = 0
        self._is_closed = False
        for _ in range(min(threads, len(items))):
            Thread(target=self._work, daemon=True).start()

    def __iter__(self) -> Iterator[tuple[Item, Loaded | Exception]]:
        for number, item in enumerate(self._items):
            outcome = self._wait_for(number)
            if outcome.error is None:
                assert outcome.value is not None
                yield item, outcome.value
            elif isinstance(outcome.error, Exception):
                yield item, outcome.error
            else:
                raise outcome.error

    def close(self) -> None:
        """Start no further loading."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _wait_for(self, number: int) -> _Outcome[Loaded]:
        with self._changed:
            self._changed.wait_for(lambda: number in self._outcomes)
            outcome = self._outcomes.pop(number)
            self._held -= outcome.weight
            self._changed.notify_all()
        return outcome

    def _work(self) -> None:
        while (number := self._take()) is not None:
            outcome = self._outcome(self._items[number])
            with self._changed:
                self._outcomes[number] = outcome
                self._held += outcome.weight
                self._changed.notify_all()

    def _take(self) -> int | None:
        """Return the number of the next item once there is room for it, or None when there is no more to do."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_done() or self._held < self._budget)
            if self._is_done():
                return None
            self._next += 1
            return self._next - 1

    def _is_done(self) -> bool:
        return self._is_closed or self._next == len(self._items)

    def _outcome(self, item: Item) -> _Outcome[Loaded]:
        try:
            value = self._load(item)
            return _Outcome(value, None, self._weigh(value))
        except BaseException as error:  # raised again, or reported, by the thread that iterates
            return _Outcome(None, error, 0)
