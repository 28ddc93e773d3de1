"""A binary file for libraries in C, whose callbacks lose exceptions: the first one is kept and raised afterwards."""

import os
from collections.abc import Callable
from typing import Any, BinaryIO


class RecordedFile:
    """Wrap a seekable binary file; after each call into the library, `check` raises what went wrong in it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise the first OSError that the file had, once."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def read(self, size: int = -1) -> bytes:
        """Give up to `size` bytes, none after an error."""
        return self._tried(lambda: self._file.read(size), b"")

    def write(self, data: bytes) -> int:
        """Write bytes; 0 after an error."""
        return self._tried(lambda: self._file.write(data), 0)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; -1 after an error, and for places before the begin, where damaged files send readers."""
        try:
            return self._tried(lambda: self._file.seek(offset, whence), -1)
        except ValueError:
            return -1

    def tell(self) -> int:
        """Give the position; -1 after an error."""
        return self._tried(self._file.tell, -1)

    def _tried(self, call: Callable[[], Any], otherwise: Any) -> Any:
        if self._error is not None:
            return otherwise
        try:
            return call()
        except OSError as error:
            self._error = error
            return otherwise
