"""Samplers: which images an epoch shows, in which order. Each has its own generator and cycles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from .part import Part, hyper_parameter
from .search_space import Interval


class Sampler(Protocol):
    """What a sampler must be: a value that opens a stream of epochs over a label matrix, in which 255 is unknown."""

    kind: ClassVar[str]
    drop_last: ClassVar[bool]

    def open(self, labels: NDArray[np.uint8], generator: np.random.Generator) -> EpochStream:
        """Start drawing."""

    def epoch_length(self, labels: NDArray[np.uint8]) -> int:
        """Draws of one epoch."""


class EpochStream(Protocol):
    """Epochs of image indices, with a state that can be saved and restored."""

    def next_epoch(self) -> NDArray[np.int64]:
        """Draw the image indices of the next epoch."""

    def state(self) -> dict[str, Any]:
        """Return everything that decides the epochs to come, as plain values and arrays."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""


@dataclass(frozen=True, kw_only=True)
class InstanceBalanced(Part, slot="sampler", kind="instance-balanced"):
    """Every image once per epoch, shuffled; the last batch may be smaller."""

    drop_last: ClassVar[bool] = False

    def open(self, labels: NDArray[np.uint8], generator: np.random.Generator) -> EpochStream:
        """Start drawing permutations."""
        return _Permutations(len(labels), generator)

    def epoch_length(self, labels: NDArray[np.uint8]) -> int:
        """Return N."""
        return len(labels)


@dataclass(frozen=True, kw_only=True)
class ClassAware(Part, slot="sampler", kind="class-aware"):
    """Class-aware re-sampling (Shen et al. 2016; Sec. 4.2), as published.

    Classes come in a shuffled cycle; each visit takes the next images of a shuffled cycle of its class. Both cycles
    persist across epochs. An epoch has int(n_max C / 4) draws; of its last batch only a whole one is used.

    Attributes:
        images_per_visit: consecutive images of one class visit.
        epoch_fraction: N_e as a share of n_max; not tuned, since it changes how many images a training takes, and
            methods are compared at equal numbers.
    """

    drop_last: ClassVar[bool] = True

    images_per_visit: int = hyper_parameter(
        3, allowed=(1, 1000), search=Interval(low=1, high=12, scale="log", whole=True, paper=3)
    )
    epoch_fraction: float = hyper_parameter(
        0.25, allowed=(1e-3, 100), search=Interval(low=0.0625, high=1, scale="log", paper=0.25, tuned=False)
    )

    def open(self, labels: NDArray[np.uint8], generator: np.random.Generator) -> EpochStream:
        """Start drawing class visits."""
        return _ClassVisits(labels, self.images_per_visit, self.epoch_length(labels), generator)

    def epoch_length(self, labels: NDArray[np.uint8]) -> int:
        """Return int(n_max C epoch_fraction): 3,875 for VOC-MLT, 22,560 for COCO-MLT."""
        largest = max(np.count_nonzero(column == 1) for column in labels.T)
        return int(largest * labels.shape[1] * self.epoch_fraction)


@dataclass(frozen=True, kw_only=True)
class PositivesAndNegatives(Part, slot="sampler", kind="positives-and-negatives"):
    """As many images with a class as without it, class by class: for losses that rank images.

    Classes come in a shuffled cycle; each visit takes the next images with the class and as many without it, from
    shuffled cycles that persist across epochs. An epoch has as many draws as there are images; of its last batch only a
    whole one is used. Images in which a class is unknown count as neither.

    Attributes:
        images_per_side: images with the class, and without it, of one visit.
    """

    drop_last: ClassVar[bool] = True

    images_per_side: int = hyper_parameter(
        2, allowed=(1, 1000), search=Interval(low=1, high=8, scale="log", whole=True)
    )

    def open(self, labels: NDArray[np.uint8], generator: np.random.Generator) -> EpochStream:
        """Start drawing class visits."""
        return _ClassVisits(labels, self.images_per_side, len(labels), generator, sides=(1, 0))

    def epoch_length(self, labels: NDArray[np.uint8]) -> int:
        """Return N."""
        return len(labels)


class _Permutations:
    def __init__(self, length: int, generator: np.random.Generator) -> None:
        self._length, self._generator = length, generator

    def next_epoch(self) -> NDArray[np.int64]:
        return self._generator.permutation(self._length)

    def state(self) -> dict[str, Any]:
        return {"generator": self._generator.bit_generator.state}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._generator.bit_generator.state = state["generator"]


class _Cycle:
    """Items in shuffled order, shuffled anew each time around; the array becomes its own."""

    def __init__(self, items: NDArray[np.signedinteger], generator: np.random.Generator) -> None:
        self.items, self.position, self._generator = items, len(items), generator

    def take(self) -> int:
        if self.position == len(self.items):
            self._generator.shuffle(self.items)
            self.position = 0
        self.position += 1
        return int(self.items[self.position - 1])


class _ClassVisits:
    """Visits to classes, each of which takes images from a cycle for each of its `sides`, labels of 1 and 0."""

    def __init__(
        self,
        labels: NDArray[np.uint8],
        images_per_side: int,
        length: int,
        generator: np.random.Generator,
        *,
        sides: tuple[int, ...] = (1,),
    ) -> None:
        self._per_side, self._length, self._generator = images_per_side, length, generator
        self._classes = _Cycle(np.arange(labels.shape[1]), generator)
        self._images = [
            [_Cycle(np.flatnonzero(column == side).astype(np.int32), generator) for side in sides]
            for column in labels.T
        ]

    def next_epoch(self) -> NDArray[np.int64]:
        # Straight into the array: a list of a million numbers takes 40 MB.
        return np.fromiter(islice(self._visits(), self._length), np.int64, self._length)

    def _visits(self) -> Iterator[int]:
        while True:
            for cycle in self._images[self._classes.take()]:
                # A class in every image has none without it.
                yield from (cycle.take() for _ in range(self._per_side if len(cycle.items) else 0))

    def state(self) -> dict[str, Any]:
        cycles = self._cycles()
        return {
            "generator": self._generator.bit_generator.state,
            "items": [cycle.items.copy() for cycle in cycles],
            "positions": [cycle.position for cycle in cycles],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._generator.bit_generator.state = state["generator"]
        for cycle, items, position in zip(self._cycles(), state["items"], state["positions"], strict=True):
            cycle.items, cycle.position = np.array(items), int(position)

    def _cycles(self) -> list[_Cycle]:
        return [self._classes, *(cycle for cycles in self._images for cycle in cycles)]
