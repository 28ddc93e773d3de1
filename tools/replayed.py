"""A training step recorded as a CUDA graph."""

from collections.abc import Callable

import torch
from torch import Tensor

Gradients = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


class Replayed:
    """A function of two tensors, recorded as a CUDA graph: hundreds of small kernels are launched by one call.

    The first calls run as they are, on a stream of their own, so that everything lazy is made; then one is recorded.
    All that the function changes stays where it is in memory, and all it gives is overwritten by the next call.
    """

    WARM = 3  # calls before the recording

    def __init__(self, function: Gradients) -> None:
        self.function = function
        self.calls = 0
        self.graph = torch.cuda.CUDAGraph()
        self.inputs: tuple[Tensor, Tensor]
        self.outputs: tuple[Tensor, Tensor, Tensor]

    def __call__(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shapes must be those of the first call."""
        self.calls += 1
        if self.calls <= self.WARM:
            return self._warm(first, second)
        if self.calls == self.WARM + 1:
            self.inputs = (first.clone(), second.clone())
            with torch.cuda.graph(self.graph):
                self.outputs = self.function(*self.inputs)
        for kept, given in zip(self.inputs, (first, second), strict=True):
            kept.copy_(given)
        self.graph.replay()
        return self.outputs

    def _warm(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            outputs = self.function(first, second)
        torch.cuda.current_stream().wait_stream(stream)
        return outputs
