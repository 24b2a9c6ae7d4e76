"""Learning rate and loss bookkeeping of a training run, as pure functions and one small latch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


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

    def __init__(self, device: torch.device) -> None:
        self._sum = torch.zeros((), device=device, dtype=torch.float64)
        self._first_bad = torch.full((), -1, device=device, dtype=torch.int64)
        self._number = 0

    def add(self, loss: Tensor) -> None:
        """Take the detached loss of the next step."""
        bad = ~torch.isfinite(loss) & (self._first_bad < 0)
        self._first_bad = torch.where(bad, self._number, self._first_bad)
        self._sum += loss
        self._number += 1

    def read(self) -> tuple[float, int | None]:
        """Mean loss, and the first step of the epoch whose loss was not finite; waits for the device."""
        mean, bad = torch.stack([self._sum / self._number, self._first_bad.double()]).tolist()
        return mean, None if bad < 0 else int(bad)
