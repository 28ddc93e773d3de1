"""What belongs to the whole process and not to one library: settings to try, and how to see that they are left alone.

Imports nothing of rarefy, so that it can be asked what an import changes.
"""

import gc
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch


def surroundings() -> dict[str, Any]:
    """All settings of the process that a library might touch, by name."""
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "threads between": torch.get_num_interop_threads(),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic),
        "benchmark": torch.backends.cudnn.benchmark,
        "products": torch.get_float32_matmul_precision(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "anomalies": torch.is_anomaly_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "chance in torch": torch.get_rng_state().numpy().tobytes(),
        "chance in numpy": repr(np.random.get_state()),
        "chance": random.getstate(),
        "errors of numpy": np.geterr(),
        "warnings": list(warnings.filters),
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "hooks": (sys.excepthook, threading.excepthook, sys.displayhook),
        "collector": gc.get_threshold(),
        "recursion": sys.getrecursionlimit(),
    }


@contextmanager
def changed(read: Callable[[], Any], write: Callable[[Any], Any], value: Any) -> Iterator[None]:
    """A setting at another value for a while."""
    before = read()
    write(value)
    try:
        yield
    finally:
        write(before)


def default_float64() -> AbstractContextManager[None]:
    """The default dtype that some numeric code sets."""
    return changed(torch.get_default_dtype, torch.set_default_dtype, torch.float64)


def medium_products() -> AbstractContextManager[None]:
    """What training scripts set for speed: operands may be cut to bfloat16."""
    return changed(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium")


def two_threads() -> AbstractContextManager[None]:
    """Other blocks of the products, other orders of their sums."""
    return changed(torch.get_num_threads, torch.set_num_threads, 2)


SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "none": nullcontext,
    "autocast-bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast-float16": lambda: torch.autocast("cpu", torch.float16),
    "default-float64": default_float64,
    "default-bfloat16": lambda: changed(torch.get_default_dtype, torch.set_default_dtype, torch.bfloat16),
    "default-device": lambda: torch.device("meta"),
    "deterministic": lambda: changed(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True
    ),
    "matmul-medium": medium_products,
    "two-threads": two_threads,
    "no-grad": torch.no_grad,
    "inference": torch.inference_mode,
    "anomalies": lambda: torch.autograd.set_detect_anomaly(True),
    "numpy-errors": lambda: np.errstate(all="raise"),
    "warnings-are-errors": lambda: warnings.catch_warnings(action="error"),
}


@contextmanager
def using(kernel: str) -> Iterator[None]:
    """Have the network run on torch ("python") or on an instruction set."""
    before = os.environ.get("RAREFY_KERNEL")
    os.environ["RAREFY_KERNEL"] = kernel
    try:
        yield
    finally:
        del os.environ["RAREFY_KERNEL"]
        if before is not None:
            os.environ["RAREFY_KERNEL"] = before
