"""The course of a training: epoch after epoch into the journal, then the scores of the last epoch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ..networks.network import Network
from .generators import own_generators
from .metrics import Scores
from .trainer import Trainer

if TYPE_CHECKING:
    from ..runs.journal import Journal

OnEpoch = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """What a finished training leaves.

    Attributes:
        validation: scores on the validation split after the last epoch.
        test: scores on the test split, or None where it was not to be opened.
        test_scores: `(N, C)` float32 raw logits of the test split, or None.
        network: as trained.
        cost: seconds, images per second, peak memory by MLflow name.
    """

    validation: Scores
    test: Scores | None
    test_scores: NDArray[np.float32] | None
    network: Network
    cost: dict[str, float]


@dataclass(kw_only=True)
class Progress:
    """How far a training is, beside what its trainer knows.

    Attributes:
        epochs: done.
        images: taken in these epochs.
        seconds: spent before this process took over.
    """

    epochs: int = 0
    images: int = 0
    seconds: float = 0.0


class Watch(Protocol):
    """What looks after a training from step to step."""

    def resume(self, trainer: Trainer) -> Progress:
        """Give the trainer the state of a checkpoint, if there is one."""

    def after_step(self, trainer: Trainer, progress: Progress) -> None:
        """Called when a step is done and all states are whole; may raise to end the training."""


class Unwatched:
    """Looks after nothing."""

    def resume(self, trainer: Trainer) -> Progress:
        """Start at the beginning."""
        return Progress()

    def after_step(self, trainer: Trainer, progress: Progress) -> None:
        """Do nothing."""


def train(
    trainer: Trainer, journal: Journal, *, on_epoch: OnEpoch | None = None, watch: Watch | None = None
) -> Generator[int, None, Outcome]:
    """Train to the last epoch, then score the validation split and, unless the execution says no, the test split.

    Pauses after each step and gives the steps done; the time of pauses does not count. Random generators must be put
    aside in a pause if anything else draws from them.

    Args:
        trainer: at its first step.
        journal: gets one entry per epoch.
        on_epoch: called after each entry with the epochs done and its metrics; may raise `StoppedEarly`.
        watch: resumes, and writes checkpoints; None does neither.

    Raises:
        DivergedError: at the end of the epoch in which a loss was not finite.
        StoppedEarly: as `on_epoch` raised it.
        Interrupted: as the watch raised it.
    """
    with own_generators(trainer.dropout_seed, trainer.device):
        progress = yield from _train_epochs(trainer, journal, on_epoch, watch or Unwatched())
    validation, _ = trainer.evaluate("validation", folder=journal.folder)
    score_test = trainer.execution.score_test
    test, test_scores = trainer.evaluate("test", folder=journal.folder) if score_test else (None, None)
    rate = progress.images / progress.seconds
    cost = {"cost/train_seconds": progress.seconds, "cost/images_per_second": rate}
    if (peak := peak_memory_mib(trainer.device)) is not None:
        cost["cost/peak_memory_mib"] = peak
    return Outcome(validation=validation, test=test, test_scores=test_scores, network=trainer.network, cost=cost)


def _train_epochs(
    trainer: Trainer, journal: Journal, on_epoch: OnEpoch | None, watch: Watch
) -> Generator[int, None, Progress]:
    progress = watch.resume(trainer)
    started, epochs = time.perf_counter() - progress.seconds, trainer.training["schedule"]["epochs"]
    for epoch in range(progress.epochs, epochs):
        course = trainer.begin_epoch(epoch)
        for _ in trainer.steps_of(course):
            progress.seconds = time.perf_counter() - started
            watch.after_step(trainer, progress)
            paused = time.perf_counter()
            yield trainer.steps
            started += time.perf_counter() - paused
        mean_loss, seen = trainer.end_epoch(course)
        del course  # or it would lie in memory beside the next one
        progress.images += seen
        metrics = {"train/loss": mean_loss, "train/learning_rate": trainer.optimiser.param_groups[0]["lr"]}
        if _evaluated(epoch + 1, epochs, trainer.execution.evaluate_every):
            scores, _ = trainer.evaluate("validation", folder=journal.folder)
            metrics |= scores.as_metrics("validation")
        journal.append_once("epoch", step=epoch + 1, metrics=metrics, images=progress.images)
        progress.epochs = epoch + 1
        if on_epoch is not None:
            on_epoch(epoch + 1, metrics)
    progress.seconds = time.perf_counter() - started
    return progress


def _evaluated(done: int, epochs: int, every: int) -> bool:
    """Whether the validation split is scored after so many epochs; after the last one it is in any case, later."""
    return bool(every) and done % every == 0 and done < epochs


def peak_memory_mib(device: torch.device) -> float | None:
    """Peak memory: of the device's allocator on CUDA, of this process on the CPU; None where nothing tells."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows has no such module
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
