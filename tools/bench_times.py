"""Where the time of a call goes: transforms, entropy networks and coder apart, by clocks around the codec's methods."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from time import perf_counter
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from rarefy.codecs.base import Codec


class Clocks:
    """Milliseconds by name, added up over calls and threads: parts that ran side by side sum to more than the wall."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        @wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            begin = perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                with self._lock:
                    passed = 1000 * (perf_counter() - begin)
                    self.milliseconds[name] = self.milliseconds.get(name, 0.0) + passed

        return timed


@contextmanager
def codec_times(codec: "Codec") -> Iterator[dict[str, float]]:
    """Fill a dictionary with milliseconds of what runs inside: analysis, synthesis, entropy_networks and coder."""
    from rarefy.entropy import coder

    clocks = Clocks()
    times: dict[str, float] = {}
    bottleneck = codec.bottleneck
    parts: list[tuple[Any, str, str]] = [
        (codec, "analysis", "analysis"),
        (codec, "synthesis", "synthesis"),
        (bottleneck, "compress", "bottleneck"),
        (bottleneck, "decompress", "bottleneck"),
        (coder, "encode", "coder"),
        (coder.Decoder, "decode", "coder"),
        (coder.Decoder, "finish", "coder"),
    ]
    with ExitStack() as stack:
        for owner, method, name in parts:
            stack.enter_context(patch.object(owner, method, clocks.around(name, getattr(owner, method))))
        yield times
    times.update(clocks.milliseconds)
    if "bottleneck" in times:
        times["entropy_networks"] = times.pop("bottleneck") - times.get("coder", 0.0)
