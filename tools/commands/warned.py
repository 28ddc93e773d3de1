"""Turns the library's warnings into notes on the file that is worked on, whichever thread works on it."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rarefy.errors import RarefyWarning

_thread = threading.local()


@contextmanager
def warnings_collected() -> Iterator[None]:
    """Make `notes_of` work in every thread, as long as this lasts."""
    with warnings.catch_warnings():  # for all threads at once: Python keeps one list of filters
        warnings.simplefilter("always", RarefyWarning)
        show = warnings.showwarning

        def collect(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            notes: list[str] | None = getattr(_thread, "notes", None)
            if notes is not None and issubclass(category, RarefyWarning):
                notes.append(str(message))
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = collect
        yield


@contextmanager
def notes_of() -> Iterator[list[str]]:
    """Give the list that takes the warnings of this thread inside of the block."""
    notes: list[str] = []
    _thread.notes = notes
    try:
        yield notes
    finally:
        del _thread.notes
