"""Loading and launching through the driver's interface, in the context that torch uses: the device's primary one."""

from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import Structure, addressof, c_void_p
from functools import cache
from threading import Lock
from typing import Any

from rarefy.errors import UnsupportedError
from rarefy.kernels.cuda.compile import kernels_for

_LOADING = Lock()


class Device:
    """The kernels, loaded on one GPU.

    multiprocessors: how many the GPU has. shared_bytes: the most shared memory that a block may ask for.
    """

    def __init__(self, ordinal: int) -> None:
        """ordinal: as torch and the driver count devices. Raises UnsupportedError where that cannot be."""
        self._driver = _driver()
        attribute = self._driver.CUdevice_attribute
        self._call("cuInit", 0)
        device = self._call("cuDeviceGet", ordinal)

        def ask(name: str) -> int:
            return int(self._call("cuDeviceGetAttribute", getattr(attribute, f"CU_DEVICE_ATTRIBUTE_{name}"), device))

        self.multiprocessors = ask("MULTIPROCESSOR_COUNT")
        self.shared_bytes = ask("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN")
        capability = ask("COMPUTE_CAPABILITY_MAJOR"), ask("COMPUTE_CAPABILITY_MINOR")
        self._context = self._call("cuDevicePrimaryCtxRetain", device)
        with self._current():
            self._module = self._call("cuModuleLoadData", kernels_for(capability))
        self._functions: dict[str, Any] = {}

    def launch(
        self, name: str, arguments: Structure, blocks: int, threads: int, shared_bytes: int, stream: int = 0
    ) -> None:
        """Launch a kernel on a stream (its handle) of this device; returns at once."""
        function = self._function(name)
        pointers = (c_void_p * 1)(addressof(arguments))  # the driver copies the arguments before it returns
        with self._current():
            self._call(
                "cuLaunchKernel", function, blocks, 1, 1, threads, 1, 1, shared_bytes, stream, addressof(pointers), 0
            )

    def blocks_together(self, name: str, threads: int, shared_bytes: int) -> int:
        """Tell how many blocks of a kernel one multiprocessor runs at a time."""
        with self._current():
            return int(
                self._call("cuOccupancyMaxActiveBlocksPerMultiprocessor", self._function(name), threads, shared_bytes)
            )

    def _function(self, name: str) -> Any:
        if name not in self._functions:
            limit = self._driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            with self._current():
                function = self._call("cuModuleGetFunction", self._module, name.encode())
                self._call("cuFuncSetAttribute", function, limit, self.shared_bytes)
            self._functions[name] = function
        return self._functions[name]

    @contextmanager
    def _current(self) -> Iterator[None]:
        self._call("cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent")

    def _call(self, name: str, *arguments: Any) -> Any:
        code, *values = getattr(self._driver, name)(*arguments)
        if code != self._driver.CUresult.CUDA_SUCCESS:
            raise UnsupportedError(f"the GPU coder failed: {name} gave {code.name}")
        return values[0] if values else None


def device(ordinal: int) -> Device:
    """Give the kernels of a GPU, compiled and loaded at first use; raises UnsupportedError where that cannot be."""
    with _LOADING:  # compiling takes seconds: once, however many threads ask
        return _device(ordinal)


@cache
def _device(ordinal: int) -> Device:
    return Device(ordinal)


def _driver() -> Any:
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise UnsupportedError("the GPU coder needs the package cuda-bindings: pip install 'rarefy[cuda]'") from error
    try:
        driver.cuDriverGetVersion()
    except (RuntimeError, OSError) as error:
        raise UnsupportedError(f"the GPU coder needs NVIDIA's driver, which does not load: {error}") from error
    return driver
