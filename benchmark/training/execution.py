"""How an experiment is run, apart from what it is."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from ...errors import InputError

OutcomeT = TypeVar("OutcomeT")


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What may move an experiment's last bits or its speed, but not its meaning.

    Attributes:
        device: `cpu`, `cuda` or `cuda:N`.
        threads: torch threads on the CPU.
        evaluate_every: epochs between evaluations on the validation split; 0 is after the last epoch only.
        score_test: whether the test split is opened and scored at the end; what is searched must not see it.
        checkpoint_seconds: time between checkpoints; 0 writes one after every step.
        graphed: whether steps on CUDA are replayed as a graph; without meaning elsewhere.
    """

    device: str = "cpu"
    threads: int = 1
    evaluate_every: int = 0
    score_test: bool = True
    checkpoint_seconds: float = 60.0
    graphed: bool = False


class ExecutionChangedError(InputError):
    """An interrupted run cannot go on here with the bits that it would have had."""


class DivergedError(RuntimeError):
    """A loss was not finite; the message names the step and the images.

    Attributes:
        step: the first such step.
    """

    def __init__(self, message: str, *, step: int) -> None:
        super().__init__(message)
        self.step = step


class StoppedEarly(Exception):  # noqa: N818 - no error: somebody who watches the epochs has seen enough
    """Raised by a callback after an epoch to end the run; its text is the reason."""


def to_the_end(steps: Generator[Any, None, OutcomeT]) -> OutcomeT:
    """Take all steps of something that pauses after each; return what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcome: OutcomeT = end.value
            return outcome
