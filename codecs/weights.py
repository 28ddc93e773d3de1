"""Weights files: a codec's floats in 16 bits, its integer network and its tables, in one safetensors file.

The SHA-256 of tensors, tables and sizes of the networks is the identity that files name. Weights are found in the
folders of RAREFY_WEIGHTS and then in the package; nothing is ever fetched.
"""

import hashlib
import json
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rarefy.codecs.any_codec import AnyCodec
from rarefy.codecs.base import Codec
from rarefy.codecs.registry import build, is_own
from rarefy.codecs.unfinished import whole_file
from rarefy.codecs.weights_files import candidates
from rarefy.entropy.integers_file import EXACT, TABLES
from rarefy.errors import OptionError, WeightsError

_loaded: dict[tuple[Path, str], tuple[tuple[int, ...], AnyCodec]] = {}
_replaced = WeakValueDictionary[tuple[str, bytes], AnyCodec]()  # those that somebody still holds
LARGEST_SIZE = 1 << 13  # of a layer
_lock = threading.Lock()


def _note_fork() -> None:
    """A lock that another thread held while this process was forked would never open."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def digest(tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> bytes:
    """SHA-256 over codec and config, and names, types, shapes and values of all tensors, in order of their names."""
    config = json.dumps(json.loads(facts["config"]), sort_keys=True)
    sha = hashlib.sha256(f"{facts['codec']} {config}\n".encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        sha.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        sha.update(_little_endian(tensor).data)
    return sha.digest()


def _little_endian(tensor: Tensor) -> NDArray[Any]:
    """The numbers as they stand in weights files, on any machine."""
    numbers = tensor.reshape(-1).view(torch.uint8).numpy()
    size = tensor.element_size()
    return numbers if sys.byteorder == "little" else np.ascontiguousarray(numbers.reshape(-1, size)[:, ::-1])


def save_weights(codec: AnyCodec, path: Path) -> bytes:
    """Write a codec whose bottleneck has its exact part; gives the SHA-256 of what was written."""
    floats = {name: tensor.half() for name, tensor in codec.state_dict().items() if not _is_restored(codec, name)}
    tensors = {name: t.contiguous() for name, t in (floats | _exact_tensors(codec)).items()}
    facts = {"codec": codec.name, "config": json.dumps(asdict(codec.config))}
    with whole_file(path) as file:
        file.write(save(tensors, facts))
    return digest(tensors, facts)


def _is_restored(codec: AnyCodec, name: str) -> bool:
    return any(
        name.startswith(tuple(f"{place}.{prefix}" for prefix in bottleneck.restored))
        for place, bottleneck in codec.bottlenecks().items()
    )


def _exact_tensors(codec: AnyCodec) -> dict[str, Tensor]:
    """The integers of a codec's bottlenecks, named by their places where they are several, and their common tables."""
    bottlenecks = codec.bottlenecks()
    tensors: dict[str, Tensor] = {}
    for place, bottleneck in bottlenecks.items():
        for name, tensor in bottleneck.exact_tensors().items():
            if name.startswith(TABLES) and name in tensors and not torch.equal(tensors[name], tensor):
                raise WeightsError(f'codec "{codec.name}" has bottlenecks with different tables, which no file holds')
            tensors[_placed(name, place) if len(bottlenecks) > 1 else name] = tensor
    return tensors


def _placed(name: str, place: str) -> str:
    return f"{EXACT}{place}.{name.removeprefix(EXACT)}" if name.startswith(EXACT) else name


def _set_exact(codec: AnyCodec, tensors: dict[str, Tensor]) -> None:
    bottlenecks = codec.bottlenecks()
    if len(bottlenecks) == 1:
        next(iter(bottlenecks.values())).set_exact(tensors)
        return
    own = {name: tensor for name, tensor in tensors.items() if name.startswith((EXACT, TABLES))}
    tables = {name: tensor for name, tensor in own.items() if name.startswith(TABLES)}
    for place, bottleneck in bottlenecks.items():
        prefix = f"{EXACT}{place}."
        named = {EXACT + n.removeprefix(prefix): own.pop(n) for n in list(own) if n.startswith(prefix)}
        bottleneck.set_exact(named | tables)
    if left := sorted(own.keys() - tables.keys()):
        raise WeightsError(f"integers that no part of the codec takes: {', '.join(left)}")


def read_weights(path: Path) -> AnyCodec:
    """Build the codec that a weights file holds, on the CPU, ready to code; raises WeightsError for what is wrong."""
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        with torch.random.fork_rng(devices=[]):  # the weights that networks begin with are not drawn from the caller's
            config = json.loads(facts["config"])
            if not isinstance(config, dict):
                raise ValueError("its config is no table")
            if is_own(facts["codec"]):
                _require_possible(config, tensors)
            codec = build(facts["codec"], config)
        _fill(codec, tensors)
        name = digest(tensors, facts)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: these weights cannot be used: {error}") from error
    codec.float()  # whatever the caller's default dtype is
    codec.eval().requires_grad_(False)
    codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types leave it out
    codec.seal(name)
    return codec


def _require_possible(config: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError for sizes of networks beyond what the tensors are: a small file builds nothing large."""
    most = max([len(tensors), *(max(tensor.shape, default=0) for tensor in tensors.values())])
    for name, value in config.items():
        if isinstance(value, int) and value > min(most, LARGEST_SIZE):
            raise ValueError(f"{name} {value} is more than its tensors have")


def _fill(codec: AnyCodec, tensors: dict[str, Tensor]) -> None:
    floats = {name: t.float() for name, t in tensors.items() if not name.startswith((EXACT, TABLES))}
    restored = {name: t for name, t in codec.state_dict().items() if _is_restored(codec, name)}
    codec.load_state_dict(floats | restored)
    _set_exact(codec, tensors)


def load_codec(name: str, device: str = "cpu", needed: bytes = b"") -> Codec:
    """The codec of pictures with the weights that are asked for; see `load_any`. Raises OptionError for other media."""
    codec = load_any(name, device, needed)
    if not isinstance(codec, Codec):
        raise OptionError(f'codec "{name}" is for {codec.medium}, not for pictures')
    return codec


def load_any(name: str, device: str = "cpu", needed: bytes = b"") -> AnyCodec:
    """The codec with the weights whose SHA-256 begins with `needed`, or the first found; kept for the next call.

    Raises WeightsError where there are none; a file that cannot be read is an error only where no other one will do.
    """
    require_device(device)
    paths = candidates(name)
    if not paths:
        raise WeightsError(f'no weights for codec "{name}": name their folder in RAREFY_WEIGHTS')
    unreadable = []
    for path in paths:
        try:
            codec = _load(path, device)
        except WeightsError as error:
            if not needed:
                raise
            unreadable.append(f"; {error}")
            continue
        if codec.weights_hash.startswith(needed):
            return codec
    for (place, digest), codec in list(_replaced.items()):
        if (place, codec.name) == (device, name) and digest.startswith(needed):
            return codec
    raise WeightsError(
        f'the file needs the weights {needed.hex()} of codec "{name}", none of {len(paths)} here is that generation: '
        f"put the weights of the release that made it into a folder named by RAREFY_WEIGHTS{''.join(unreadable)}"
    )


def require_device(device: str) -> None:
    """Raise OptionError for a device of a kind that is not supported."""
    try:
        kind = torch.device(device).type
    except (RuntimeError, TypeError) as error:
        raise OptionError(f"device {device!r}: cpu or cuda") from error
    if kind not in ("cpu", "cuda"):
        raise OptionError(f"device {device!r}: cpu or cuda")


def _load(path: Path, device: str) -> AnyCodec:
    with _lock:
        loaded, state = _loaded.get((path, device)), _state_of(path)
        if loaded is None or loaded[0] != state:  # or exported anew since
            if loaded is not None:
                _replaced[device, loaded[1].weights_hash] = loaded[1]
            try:
                with torch.inference_mode(False):  # tensors that every later caller can use, and that count writes
                    codec = read_weights(path)
                    codec.is_shared = True
                    loaded = _loaded[path, device] = state, codec.to(device)
            except (RuntimeError, AssertionError) as error:  # torch's word that there is no such device
                raise OptionError(f"device {device!r} cannot be used: {error}") from error
        return loaded[1]


def _state_of(path: Path) -> tuple[int, ...]:
    """What changes with a file; nothing where it is lost, as reading it tells."""
    try:
        state = path.stat()
    except OSError:
        return ()
    return state.st_ino, state.st_size, state.st_mtime_ns
