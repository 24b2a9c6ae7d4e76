"""Learning rate, mean loss and optimiser of a training run."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd


def learning_rate(step: int, epoch: int, training: Mapping[str, Any]) -> float:
    """Learning rate of a step: linear warm-up per iteration, then steps down after the decay epochs (Sec. 4.2).

    `step` and `epoch` count what was done before this one; `training` is the resolved recipe.
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


class FlatSGD:
    """SGD with clipping on one flat buffer: its parameters and their gradients are views of it.

    The same arithmetic as `torch.optim.SGD` and `clip_grad_norm_` on the single tensors; a step is a handful of kernels
    instead of some for each of them.

    The gradients of `parameters` are clipped together; `unclipped` (those of the loss) are trained outside the norm.
    `momentum` has a buffer for each parameter, the flat one first, and None before its first step.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], unclipped: Sequence[nn.Parameter], training: Mapping[str, Any]
    ) -> None:
        self.flat, self.unclipped = flatten(parameters), list(unclipped)
        self.clip_norm = float(training["clip_norm"])
        # On CUDA in a tensor as well, which a graph of the step reads.
        self._rate = torch.zeros((), device=self.flat.device) if self.flat.is_cuda else None
        self.learning_rate = float(training["learning_rate"])
        self.decay, self.inertia = float(training["weight_decay"]), float(training["momentum"])
        self.momentum: list[Tensor | None] = [None] * (1 + len(self.unclipped))

    @property
    def learning_rate(self) -> float:
        """That of the next step."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = value
        if self._rate is not None:
            self._rate.fill_(value)

    def clear_gradients(self) -> None:
        """Set all gradients to 0; those of the buffer in place."""
        self.gradient.zero_()
        for parameter in self.unclipped:
            parameter.grad = None

    @torch.no_grad()
    def clip_and_step(self) -> None:
        """Clip the gradient's norm as `clip_grad_norm_` does, then step."""
        norm = torch.linalg.vector_norm(self.gradient)
        self.gradient.mul_((self.clip_norm / (norm + 1e-6)).clamp(max=1.0))
        parameters = [self.flat, *self.unclipped]
        used = [i for i, parameter in enumerate(parameters) if parameter.grad is not None]
        # Momentum 0 before a first step is the same as none: m 0 + g = g.
        buffers: list[Tensor | None] = [
            torch.zeros_like(parameters[i]) if (kept := self.momentum[i]) is None else kept for i in used
        ]
        sgd(
            [parameters[i] for i in used],
            [gradient for i in used if (gradient := parameters[i].grad) is not None],
            buffers,
            fused=True,
            lr=self.learning_rate if self._rate is None else self._rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            momentum=self.inertia,
            weight_decay=self.decay,
        )
        for i, buffer in zip(used, buffers, strict=True):
            self.momentum[i] = buffer

    @property
    def gradient(self) -> Tensor:
        """All gradients of the buffer."""
        assert self.flat.grad is not None
        return self.flat.grad

    def state(self) -> dict[str, Any]:
        """Return the momentum of each parameter, and the last learning rate."""
        return {"momentum": list(self.momentum), "learning_rate": self.learning_rate}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state, or from one of `torch.optim.SGD`, as version 0.1.0 saved it."""
        if "momentum" in state:
            kept, self.learning_rate = state["momentum"], state["learning_rate"]
        else:
            kept = [state["state"].get(i, {}).get("momentum_buffer") for i in range(len(self.momentum))]
            self.learning_rate = state["param_groups"][0]["lr"]
        self.momentum = [None if buffer is None else buffer.to(self.flat.device) for buffer in kept]


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
