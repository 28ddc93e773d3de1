"""A Ray cluster of two workers on this machine, one of which is killed while it packs."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rarefy.data.packing import Packer


def processes_below(parent: int, name: str) -> list[int]:
    """Numbers of the processes of a name that descend from another."""
    parents, named = dict[int, int](), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if (folder / "cmdline").read_bytes().startswith(name.encode()):
                named.append(int(folder.name))
        except OSError:  # it has just ended
            continue

    def descends(process: int) -> bool:
        return process in parents and (parents[process] == parent or descends(parents[process]))

    return [process for process in named if descends(process)]


@contextmanager
def killed_before(key: str, monkeypatch: pytest.MonkeyPatch, ray: Any) -> Iterator[None]:
    """A cluster in whose place a worker is killed when the sample `key` comes to be packed; it must come to that."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    killed: list[int] = []
    add = Packer.add

    def add_and_kill(self: Packer, name: str, source: str, fields: Mapping[str, bytes]) -> object:
        if name == key:
            killed.extend(processes_below(os.getpid(), "ray::_apply")[:1])
            for process in killed:
                os.kill(process, signal.SIGKILL)
        return add(self, name, source, fields)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(Packer, "add", add_and_kill)
            yield
    finally:
        ray.shutdown()
    assert killed
