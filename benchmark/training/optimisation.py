"""Learning rate and loss bookkeeping of a training run, as pure functions and one small latch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def learning_rate(step: int, epoch: int, training: Mapping[str, Any]) -> float:
    """Learning rate of a step: linear warm-up per iteration, then steps down after the decay epochs (Sec. 4.2).

    Args:
        step: iterations done before this one.
        epoch: epochs done before this one.
        training: resolved recipe.
    """
    passed = sum(epoch >= decay for decay in training["schedule"]["decay_after"])
    rate = float(training["learning_rate"]) * training["decay_factor"] ** passed
    warmup = training["warmup_iterations"]
    if step >= warmup:
        return float(rate)
    ratio = training["warmup_ratio"]
    return float(rate * (ratio + (1 - ratio) * step / warmup))


class LossMeter:
    """Mean loss of an epoch and its first non-finite step, kept on the device: no step waits for the host."""

    def __init__(self) -> None:
        self._losses: list[Tensor] = []

    def add(self, loss: Tensor) -> None:
        """Take the detached loss of the next step."""
        self._losses.append(loss)

    def read(self) -> tuple[float, int | None]:
        """Mean loss, and the first step of the epoch whose loss was not finite; waits for the device."""
        losses = torch.stack(self._losses).double()
        bad = ~torch.isfinite(losses)
        mean, first, any_bad = torch.stack([losses.mean(), bad.int().argmax().double(), bad.any().double()]).tolist()
        return mean, int(first) if any_bad else None

    def state(self) -> list[Tensor]:
        """Return what was added so far."""
        return list(self._losses)

    def load_state(self, state: Sequence[Tensor], device: torch.device) -> None:
        """Go on from a kept state."""
        self._losses = [loss.to(device) for loss in state]


class FlatSGD(torch.optim.SGD):
    """SGD with clipping on one flat buffer: its parameters and their gradients are views of it.

    The same arithmetic as `torch.optim.SGD` and `clip_grad_norm_` on the single tensors; a step is a handful of kernels
    instead of some for each of them.

    Args:
        parameters: whose gradients are clipped together.
        unclipped: trained, but outside the norm: those of the loss.
        training: resolved recipe.
    """

    # torch wraps these so that its compiler leaves them alone; the wrapper imports the compiler, 2.0 s in each process.
    add_param_group = inspect.unwrap(torch.optim.SGD.add_param_group)
    state_dict = inspect.unwrap(torch.optim.SGD.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.SGD.load_state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))

    def __init__(
        self, parameters: Sequence[nn.Parameter], unclipped: Sequence[nn.Parameter], training: Mapping[str, Any]
    ) -> None:
        self.flat, self.unclipped = flatten(parameters), unclipped
        self.clip_norm = float(training["clip_norm"])
        super().__init__(
            [self.flat, *unclipped],
            lr=training["learning_rate"],
            momentum=training["momentum"],
            weight_decay=training["weight_decay"],
            fused=True,
        )

    def clear_gradients(self) -> None:
        """Set all gradients to 0; those of the buffer in place."""
        self.gradient.zero_()
        for parameter in self.unclipped:
            parameter.grad = None

    def clip_and_step(self) -> None:
        """Clip the gradient's norm as `clip_grad_norm_` does, then step."""
        norm = torch.linalg.vector_norm(self.gradient)
        self.gradient.mul_((self.clip_norm / (norm + 1e-6)).clamp(max=1.0))
        self.step()

    @property
    def gradient(self) -> Tensor:
        """All gradients of the buffer."""
        assert self.flat.grad is not None
        return self.flat.grad


def flatten(parameters: Sequence[nn.Parameter]) -> nn.Parameter:
    """Move parameters into one buffer, each a view of it as it lay in memory, and their gradients likewise."""
    first = parameters[0]
    flat = nn.Parameter(torch.empty(sum(p.numel() for p in parameters), dtype=first.dtype, device=first.device))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for parameter in parameters:
        place, stride = (parameter.shape, parameter.stride()), start
        value, gradient = (part.detach().as_strided(*place, stride) for part in (flat, flat.grad))
        value.copy_(parameter.detach())
        parameter.data, parameter.grad = value, gradient
        start += parameter.numel()
    return flat
