"""A trainer's whole step as one CUDA graph: gather, augment, trunk, upper part, loss, backward, clipping and SGD."""

from __future__ import annotations

import torch
from torch import Tensor

from .augmentation import DRAWS_PER_IMAGE
from .trainer import Trainer

WARM_UP_STEPS = 3


class GraphedStep:
    """Replays `Trainer.train_step` for batches of one size.

    What changes from step to step lies in tensors that the graph reads: image indices, uniform numbers for the
    augmentation, learning rate. It is the trainer's own step that is captured, so both mean the same. The steps that
    warm up leave no trace: weights, statistics and momentum are put back before the capture, which executes nothing.

    Args:
        trainer: on a CUDA device, with its images there.
        batch_size: images of every step.

    Raises:
        RuntimeError: if something in the step cannot be captured.
    """

    def __init__(self, trainer: Trainer, batch_size: int) -> None:
        self.trainer, device = trainer, trainer.device
        self.indices = torch.zeros(batch_size, dtype=torch.long, device=device)
        self.draws = torch.full((batch_size, DRAWS_PER_IMAGE), 0.5, device=device)
        self.rate = torch.full((), float(trainer.training["learning_rate"]), device=device)
        for group in trainer.optimiser.param_groups:
            group["lr"] = self.rate
        # One stream for both: gradients are accumulated on the stream that first saw their parameter.
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            warm_up_without_trace(trainer, self.indices, self.draws)
        torch.cuda.synchronize(device)
        self.graph = torch.cuda.CUDAGraph()
        steps = trainer.steps
        with torch.cuda.graph(self.graph, stream=stream):
            self.loss = trainer.train_step(self.indices, self.draws)
        trainer.steps = steps
        # The graph reads the folded trunk by address, whatever becomes of the network's own reference.
        self._kept = trainer.network._folded

    def __call__(self, indices: Tensor, draws: Tensor, rate: float) -> Tensor:
        """Take one step; return its detached loss without waiting for the device."""
        self.indices.copy_(indices, non_blocking=True)
        self.draws.copy_(draws, non_blocking=True)
        self.rate.fill_(rate)
        self.graph.replay()
        self.trainer.steps += 1
        return self.loss.clone()


def warm_up_without_trace(trainer: Trainer, indices: Tensor, draws: Tensor) -> None:
    """Take some steps, then put back weights, statistics, momentum, counts and generators as they were."""
    optimiser, device = trainer.optimiser, trainer.device
    state = [*trainer.network.state_dict().values(), *trainer.loss.state_dict().values()]
    steps, before = trainer.steps, [tensor.clone() for tensor in state]
    momentum = {parameter: values["momentum_buffer"].clone() for parameter, values in optimiser.state.items()}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for _ in range(WARM_UP_STEPS):
            trainer.train_step(indices, draws)
    trainer.steps = steps
    with torch.no_grad():
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)
        # Momentum 0 before a first step is the same as none: m 0 + g = g.
        for parameter, values in optimiser.state.items():
            buffer = values["momentum_buffer"]
            buffer.copy_(momentum.get(parameter, torch.zeros_like(buffer)))
