"""How an experiment is trained, apart from what it is, and how its training may end."""

from dataclasses import dataclass

from ...errors import InputError


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What may change an experiment's last bits or its speed, but not its meaning."""

    device: str = "cpu"  # `cpu`, `cuda` or `cuda:N`
    threads: int = 1  # torch threads on the CPU
    evaluate_every: int = 0  # epochs between evaluations on the validation split; 0 is after the last epoch only
    score_test: bool = True  # whether the test split is opened and scored at the end; a search must not see it
    checkpoint_seconds: float = 60.0  # time between checkpoints; 0 writes one after every step


class ExecutionChangedError(InputError):
    """An interrupted run cannot resume here with the bits that it would have had."""


class DivergedError(RuntimeError):
    """A loss was not finite; the message names its images, `step` is the first such step."""

    def __init__(self, message: str, *, step: int) -> None:
        super().__init__(message)
        self.step = step


class StoppedEarly(Exception):  # noqa: N818 - no error: an observer of the epochs has seen enough
    """Raised by a callback after an epoch to end the run; its text is the reason."""
