"""A learner's step as one CUDA graph: upper network, loss, backward pass, clipping and SGD."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .optimisation import FlatSGD

WARM_UP_STEPS = 3
# From features and targets to the detached loss, such as `Learner.step`.
Step = Callable[[Tensor, Tensor], Tensor]


class GraphedStep:
    """Replays a step for batches of one size.

    What changes from step to step lies in tensors that the graph reads: features, targets, learning rate. It is the
    learner's own step that is captured, so both mean the same. The steps that warm up leave no trace: weights,
    statistics and momentum are put back before the capture, which executes nothing. Augmentation and trunk stay
    outside, for a cohort shares them.

    Args:
        step: uses the optimiser.
        state: all tensors that it changes besides, on a CUDA device.
        features: the trunk's feature map of a batch; its targets are `(n, C)`.

    Raises:
        RuntimeError: if something in the step cannot be captured.
    """

    def __init__(
        self, step: Step, optimiser: FlatSGD, state: Sequence[Tensor], features: Tensor, targets: Tensor
    ) -> None:
        self.optimiser, device = optimiser, features.device
        self.features, self.targets = features.clone(), targets.clone()
        rate = optimiser.learning_rate
        self.rate = torch.full((), float(rate), device=device)
        optimiser.learning_rate = self.rate
        # One stream for both: gradients are accumulated on the stream that first saw their parameter.
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            warm_up_without_trace(step, optimiser, state, self.features, self.targets)
        torch.cuda.synchronize(device)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=stream):
            self.loss = step(self.features, self.targets)
        optimiser.learning_rate = rate

    def __call__(self, features: Tensor, targets: Tensor) -> Tensor:
        """Take one step at the optimiser's learning rate; return its detached loss without waiting for the device."""
        self.features.copy_(features, non_blocking=True)
        self.targets.copy_(targets, non_blocking=True)
        self.rate.fill_(self.optimiser.learning_rate)
        self.graph.replay()
        return self.loss.clone()


def warm_up_without_trace(
    step: Step, optimiser: FlatSGD, state: Sequence[Tensor], features: Tensor, targets: Tensor
) -> None:
    """Take some steps, then put back weights, statistics, momentum and generators as they were."""
    before, device = [tensor.clone() for tensor in state], features.device
    momentum = [None if buffer is None else buffer.clone() for buffer in optimiser.momentum]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for _ in range(WARM_UP_STEPS):
            step(features, targets)
    with torch.no_grad():
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)
        # In place, for the graph reads these buffers. Momentum 0 before a first step is the same as none.
        for buffer, earlier in zip(optimiser.momentum, momentum, strict=True):
            if buffer is not None:
                buffer.copy_(torch.zeros_like(buffer) if earlier is None else earlier)
