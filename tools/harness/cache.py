"""Results that survive the run: a folder of files and rows, found by content and settings."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rarefy.tools.files import write_bytes


class Cache:
    """A folder of measurements; each is a row (JSON) and the file that was measured.

    An entry that was cut short is no entry: it is measured again.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def find(self, key: Mapping[str, object]) -> tuple[dict[str, Any], bytes] | None:
        """Return the row and the file of a measurement, or None if it was not made yet."""
        if self._folder is None:
            return None
        path = self._path(key)
        try:
            row, data = json.loads(path.read_bytes()), path.with_suffix(".file").read_bytes()
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
            return None
        return (row, data) if isinstance(row, dict) and row.get("size_bytes") == len(data) else None

    def keep(self, key: Mapping[str, object], row: Mapping[str, object], data: bytes) -> None:
        """Store a measurement; the row comes last, so that whoever finds it finds its file too."""
        if self._folder is not None:
            path = self._path(key)
            write_bytes(str(path.with_suffix(".file")), data)
            write_bytes(str(path), json.dumps(row).encode())

    def _path(self, key: Mapping[str, object]) -> Path:
        assert self._folder is not None
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
        return self._folder / f"{name}.json"
