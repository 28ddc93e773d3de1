"""Full float32 for the means, whatever the caller's settings are: no autocast, no TF32, no bfloat16 inside products.

The settings belong to the process, so threads that code at once share one change of them: the first makes it, the last
undoes it.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import nn

from rarefy.errors import OptionError


class _Setting(NamedTuple):
    """How to read and write a setting, and its values that leave float32 alone; the last of them is written."""

    read: Callable[[], Any]
    write: Callable[[Any], None]
    full: tuple[Any, ...]


_lock = threading.Lock()
_users = 0
_changed: list[tuple[_Setting, Any]] = []


def _note_fork() -> None:
    """A lock that another thread held while this process was forked would never open."""
    global _lock, _users
    _lock, _users = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Compute in float32 proper on this device while this runs; the caller's settings come back afterwards."""
    _enter()
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        _leave()


def require_float32(module: nn.Module) -> None:
    """Raise OptionError for parameters of another dtype: symbols and their checksum would not show what it changes."""
    for parameter in module._parameters.values():  # `parameters` takes four times as long
        if parameter is not None and parameter.dtype is not torch.float32:
            raise OptionError(f"files need a codec in float32, this one has parameters of {parameter.dtype}")
    for child in module._modules.values():
        if child is not None:
            require_float32(child)


def _enter() -> None:
    global _users
    with _lock:
        _users += 1
        if _users > 1:
            return
        for setting in _settings():
            value = setting.read()
            if value not in setting.full:
                _changed.append((setting, value))
                setting.write(setting.full[-1])


def _leave() -> None:
    global _users
    with _lock:
        _users -= 1
        while not _users and _changed:
            setting, value = _changed.pop()
            setting.write(value)


@cache
def _settings() -> list[_Setting]:
    """Those of torch 2.9 and later, which the older names cannot read once they were used; the older names before."""
    backends: Any = torch.backends
    if hasattr(torch._C, "_get_fp32_precision_getter"):
        operations = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
        return [_operation(operation) for operation in operations]
    convolutions = _Setting(
        lambda: backends.cudnn.allow_tf32, lambda value: setattr(backends.cudnn, "allow_tf32", value), (False,)
    )
    return [
        _Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, ("highest",)),
        convolutions,
    ]


def _operation(operation: Any) -> _Setting:
    def read() -> str:
        return str(operation.fp32_precision)

    def write(value: str) -> None:
        operation.fp32_precision = "none"  # a value that comes from a setting above goes on to follow it
        if read() != value:
            operation.fp32_precision = value

    return _Setting(read, write, ("none", "ieee"))
