"""What a trainer learns from a batch as one CUDA graph: upper part, loss, backward, clipping and SGD."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .trainer import Trainer

WARM_UP_STEPS = 3


class GraphedStep:
    """Replays `Trainer.learn_step` for batches of one size.

    What changes from step to step lies in tensors that the graph reads: the trunk's feature map, image indices,
    learning rate. It is the trainer's own step that is captured, so both mean the same. The steps that warm up leave no
    trace: weights, statistics and momentum are put back before the capture, which executes nothing. Augmentation and
    trunk stay outside, for a cohort shares them.

    Args:
        trainer: on a CUDA device, with its images there.
        stem: the trunk's feature map of a batch.
        indices: of its images, on the device.

    Raises:
        RuntimeError: if something in the step cannot be captured.
    """

    def __init__(self, trainer: Trainer, stem: Tensor, indices: Tensor) -> None:
        self.trainer, device = trainer, trainer.device
        self.stem, self.indices = stem.clone(), indices.clone()
        self.rate = torch.full((), float(trainer.training["learning_rate"]), device=device)
        groups, steps = trainer.optimiser.param_groups, trainer.steps
        rates = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] = self.rate
        # One stream for both: gradients are accumulated on the stream that first saw their parameter.
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            warm_up_without_trace(trainer, self.stem, self.indices)
        torch.cuda.synchronize(device)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=stream):
            self.loss = trainer.learn_step(self.stem, self.indices)
        trainer.steps = steps
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate

    def __call__(self, stem: Tensor, indices: Tensor) -> Tensor:
        """Take one step at the optimiser's learning rate; return its detached loss without waiting for the device."""
        self.stem.copy_(stem, non_blocking=True)
        self.indices.copy_(indices, non_blocking=True)
        self.rate.fill_(self.trainer.optimiser.param_groups[0]["lr"])
        self.graph.replay()
        self.trainer.steps += 1
        return self.loss.clone()


def warm_up_without_trace(trainer: Trainer, stem: Tensor, indices: Tensor) -> None:
    """Take some steps, then put back weights, statistics, momentum, counts and generators as they were."""
    optimiser, device = trainer.optimiser, trainer.device
    state = [*trainer.network.state_dict().values(), *trainer.loss.state_dict().values()]
    steps, before = trainer.steps, [tensor.clone() for tensor in state]
    momentum = {parameter: values["momentum_buffer"].clone() for parameter, values in optimiser.state.items()}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for _ in range(WARM_UP_STEPS):
            trainer.learn_step(stem, indices)
    trainer.steps = steps
    with torch.no_grad():
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)
        # Momentum 0 before a first step is the same as none: m 0 + g = g.
        for parameter, values in optimiser.state.items():
            buffer = values["momentum_buffer"]
            buffer.copy_(momentum.get(parameter, torch.zeros_like(buffer)))
