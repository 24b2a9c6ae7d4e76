"""What a loss may know besides logits and labels: how far training has come, and which images a batch holds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ..errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """Where a batch stands in training; a loss with `takes_context` is called as `loss(logits, labels, context)`.

    The suite's trainers give all of it. In your own loop give what the loss asks for. Epoch and step count what was
    done before; a trainer on a GPU has them as tensors of no dimension, so that nothing waits for the device.

    Example:
        >>> Context(epoch=8, epochs=10).reached(0.8)
        True
    """

    epoch: int | Tensor | None = None
    epochs: int | None = None
    step: int | Tensor | None = None
    indices: Tensor | None = None  # (N,) row of each image in the training set
    images: int | None = None  # of the training set

    def reached(self, share: float) -> bool | Tensor:
        """Whether this share of all epochs is done, as a boolean, or as a boolean tensor of no dimension.

        Raises:
            InputError: if the epochs are not known.
        """
        if self.epoch is None or self.epochs is None:
            raise InputError(
                "this loss changes during training and must know the epoch: "
                "loss(logits, labels, mltbench.Context(epoch=3, epochs=80)), in which epoch counts from 0"
            )
        # Compared as whole numbers, which every device does alike; .8 of 10 epochs is 8.
        return self.epoch >= math.ceil(round(share * self.epochs, 6))

    def rows(self, number: int) -> Tensor:
        """The rows `(N,)` of a batch of so many images in the training set.

        Raises:
            InputError: if they are not known.
        """
        if self.indices is None or self.indices.shape != (number,):
            got = "none" if self.indices is None else f"shape {tuple(self.indices.shape)}"
            raise InputError(
                f"this loss remembers something of every image and must know the row of each of {number} in the "
                f"training set; got {got}: loss(logits, labels, mltbench.Context(indices=rows))"
            )
        return self.indices
