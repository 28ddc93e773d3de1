"""Manifests that others wrote: whole, or refused in a sentence; no name leads out of the folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from rarefy.data.manifest import FILE, Manifest, Settings, Shard, read_manifest
from rarefy.data.statistics import known_statistics
from rarefy.errors import FormatError

SETTINGS = Settings("walloc-image", "ab" * 32, 50.0, "folder", "pictures", 10**8)
STATISTICS = {"mean": [0.0], "deviation": [1.0], "samples": 1, "output": "integers", "weights": "ab" * 32}
WHOLE = Manifest(SETTINGS, ("cat",), (Shard("latents-000000.tar", 1, 2048),), (), True, STATISTICS)


def test_a_whole_manifest_is_read(tmp_path: Path) -> None:
    WHOLE.write(tmp_path)
    assert read_manifest(tmp_path) == WHOLE
    known = known_statistics(tmp_path, "integers")
    assert known is not None and known.mean == (0.0,)
    assert known_statistics(tmp_path, "floats") is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("settings", "weights"), "zz"),
        (("settings", "weights"), 5),
        (("shards", 0, "name"), 5),
        (("shards", 0, "name"), "../other/latents-000000.tar"),
        (("shards", 0, "name"), "/latents-000000.tar"),
        (("statistics",), [1]),
        (("shards",), 3),
    ],
)
def test_manifests_that_are_not_whole_are_told(place: tuple[Any, ...], value: Any, tmp_path: Path) -> None:
    WHOLE.write(tmp_path)
    record = json.loads((tmp_path / FILE).read_text())
    inner = record
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    (tmp_path / FILE).write_text(json.dumps(record))
    with pytest.raises(FormatError, match="no whole manifest"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("statistics", [{"output": "integers"}, {**STATISTICS, "more": 1}, {**STATISTICS, "mean": 3}])
def test_statistics_that_are_not_whole_are_told(statistics: dict[str, Any], tmp_path: Path) -> None:
    Manifest(SETTINGS, statistics=statistics).write(tmp_path)
    with pytest.raises(FormatError, match="statistics"):
        known_statistics(tmp_path, "integers")
