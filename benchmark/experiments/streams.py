"""Random streams: sampling, augmentation, initialisation and dropout each draw from their own.

A stream depends on the experiment's seed and its own name, never on the method: methods with the same sampler and seed
see the same images, crops and initial weights, so that their differences are compared pairwise.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch


def stream_seed(seed: int, stream: str) -> int:
    """Seed of a named stream, 0..2^63-1."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stream}".encode()).digest()[:8], "big") >> 1


def numpy_stream(seed: int, stream: str) -> np.random.Generator:
    """NumPy generator of a named stream."""
    return np.random.Generator(np.random.PCG64(stream_seed(seed, stream)))


def torch_stream(seed: int, stream: str) -> torch.Generator:
    """Torch generator of a named stream, on the CPU: its numbers are the same whatever device trains."""
    return torch.Generator().manual_seed(stream_seed(seed, stream))


def as_tensors(state: Any) -> Any:
    """A stream's state with tensors for its arrays: what `torch.load` reads with weights_only=True.

    >>> as_tensors({"items": [np.array([1, 2])], "position": 3})
    {'items': [tensor([1, 2])], 'position': 3}
    """
    return _with_each(state, np.ndarray, torch.from_numpy)


def as_arrays(state: Any) -> Any:
    """The state that `as_tensors` was given.

    >>> as_arrays({"items": [torch.tensor([1, 2])], "position": 3})
    {'items': [array([1, 2])], 'position': 3}
    """
    return _with_each(state, torch.Tensor, torch.Tensor.numpy)


def _with_each(state: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    if isinstance(state, Mapping):
        return {name: _with_each(value, kind, function) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return [_with_each(value, kind, function) for value in state]
    return function(state) if isinstance(state, kind) else state
