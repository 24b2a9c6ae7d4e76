"""The global random generators, saved and restored together.

Samplers and augmentation have generators of their own; dropout and user-defined losses draw from these.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class GeneratorTurns:
    """Lets several trainings draw in turn from the global generators, each from states of its own.

    Within `with turns:`, which is entered once, the states from outside are kept, and put back at the end.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._states: dict[object, Mapping[str, Any]] = {}
        self._current: object = None

    def __enter__(self) -> GeneratorTurns:
        self._outside = generator_states(self.device)
        return self

    def __exit__(self, *_: object) -> None:
        set_generator_states(self._outside, self.device)

    def begin(self, training: object, seed: int) -> None:
        """Let all generators of a training start from a seed."""
        before = generator_states(self.device)
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        begun = generator_states(self.device)
        set_generator_states(before, self.device)
        self.load(training, begun)

    def state(self, training: object) -> Mapping[str, Any]:
        """Return the states of a training's generators, as tensors and plain values."""
        return generator_states(self.device) if training is self._current else self._states[training]

    def load(self, training: object, states: Mapping[str, Any]) -> None:
        """Give a training these states, which `state` returned."""
        self._states[training] = states
        if training is self._current:
            set_generator_states(states, self.device)

    @contextmanager
    def of(self, training: object) -> Iterator[None]:
        """Within, all generators are those of a training; they stay so until it is another one's turn."""
        if training is not self._current:
            self._states[self._current] = generator_states(self.device)
            set_generator_states(self._states[training], self.device)
            self._current = training
        yield


def generator_states(device: torch.device) -> dict[str, Any]:
    """States of all generators, as tensors and plain values."""
    kind, keys, *position = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *position],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def set_generator_states(states: Mapping[str, Any], device: torch.device) -> None:
    """Put back what `generator_states` gave."""
    random.setstate(states["python"])
    kind, keys, *position = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *position))
    torch.set_rng_state(states["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


def equal_on_host(states: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Whether the generators of Python, NumPy and torch's CPU are in the same states."""
    (kind, keys, *place), (other_kind, other_keys, *other_place) = states["numpy"], others["numpy"]
    numpy = (kind, place) == (other_kind, other_place) and torch.equal(keys, other_keys)
    return numpy and states["python"] == others["python"] and torch.equal(states["torch"], others["torch"])
