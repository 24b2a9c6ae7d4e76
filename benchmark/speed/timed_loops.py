"""Training loops that stop at a deadline and say how many images they took: alone, or several at once."""

from __future__ import annotations

import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import torch

from ...datasets.registry import load_dataset
from ...datasets.word_vectors import hashed_word_vectors
from ..experiments.experiment import Experiment
from ..training.execution import Execution
from ..training.lock_step import endless_steps, paper_cohort
from ..training.shared_trunk import SharedTrunk
from ..training.trainer import Trainer
from .plain_loop import PlainLoop

# Share of a measurement that goes before it untimed. It also outlasts what the loader workers of the variant before
# still prefetch.
WARM_UP = 0.25

# Trains until `time.perf_counter()` passes the deadline, one step at least; returns the images of these steps.
TrainUntil = Callable[[float], int]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train.

    Attributes:
        loop: `plain` or `ours`.
        threads: torch threads of each run.
        workers: loader workers of the plain loop.
        runs: independent runs at once, one process each.
        cohort: methods in lock step in each run; an image counts once for each.
    """

    loop: Literal["plain", "ours"]
    threads: int
    workers: int = 0
    runs: int = 1
    cohort: int = 1

    @property
    def name(self) -> str:
        """As tables print it."""
        loop = "mltbench" if self.loop == "ours" else f"plain loop, {_counted(self.workers, 'loader worker')}"
        mates = f", {self.cohort} methods in lock step" if self.cohort > 1 else ""
        together = f", {self.runs} runs at once" if self.runs > 1 else ""
        return f"{loop}, {_counted(self.threads, 'thread')}{mates}{together}"


@dataclass(frozen=True, kw_only=True)
class Task:
    """What every variant trains: plain values, so that spawned processes can be told.

    Attributes:
        experiment_json: as `Experiment.to_json` writes it.
        data_root: where datasets are kept.
        device: `cpu`, `cuda` or `cuda:N`.
        paths: image files of the training split, for the plain loop.
        weights: file of the backbone's initial weights, or None.
    """

    experiment_json: str
    data_root: Path
    device: str
    paths: tuple[Path, ...]
    weights: Path | None = None


class Alone:
    """One run in this process."""

    def __init__(self, task: Task, variant: Variant) -> None:
        self.train_until, self.threads = _open(task, variant), variant.threads

    def rate(self, seconds: float) -> float:
        """Images per second over so many seconds, after a warm-up."""
        torch.set_num_threads(self.threads)
        _timed(self.train_until, WARM_UP * seconds)
        images, elapsed = _timed(self.train_until, seconds)
        return images / elapsed

    def close(self) -> None:
        """Let go of the run; its loader workers end."""
        del self.train_until


class Together:
    """Several runs at once in spawned processes; they begin together and end within one step of each other."""

    def __init__(self, task: Task, variant: Variant) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = variant.name
        self.connections, self.processes = [], []
        for _ in range(variant.runs):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, task, variant), daemon=True)
            process.start()
            there.close()
            self.connections.append(here)
            self.processes.append(process)

    def rate(self, seconds: float) -> float:
        """Images per second of all runs, over so many seconds after a warm-up.

        Raises:
            RuntimeError: if one of the processes died.
        """
        try:
            self._train(WARM_UP * seconds)
            return sum(images / elapsed for images, elapsed in self._train(seconds))
        except (EOFError, OSError) as error:
            raise RuntimeError(f"a process of `{self.name}` died; what it said, if anything, is above") from error

    def close(self) -> None:
        """Send the processes home."""
        for connection in self.connections:
            # Closing alone would not do: loader workers that were forked meanwhile hold copies of this end.
            with suppress(OSError):
                connection.send(None)
        for process in self.processes:
            process.join()

    def _train(self, seconds: float) -> list[tuple[int, float]]:
        """Let all processes train at once; return when the last has answered."""
        for connection in self.connections:
            connection.send(seconds)
        return [connection.recv() for connection in self.connections]


class _DeadlineTrainer(Trainer):
    """The trainer itself; its last epoch ends with the first step after the deadline."""

    deadline = math.inf

    def batches(self, length: int) -> Iterator[slice]:
        for batch in super().batches(length):
            yield batch
            if time.perf_counter() >= self.deadline:
                return

    def train_until(self, deadline: float) -> int:
        self.deadline, images = deadline, 0
        while not images or time.perf_counter() < deadline:
            images += self.train_epoch(0)[1]
        return images


def _until(steps: Iterator[int]) -> TrainUntil:
    """Train by an endless row of steps, so that loader workers start once."""

    def train_until(deadline: float) -> int:
        images = 0
        while not images or time.perf_counter() < deadline:
            images += next(steps)
        return images

    return train_until


def _open(task: Task, variant: Variant) -> TrainUntil:
    experiment = Experiment.from_json(task.experiment_json)
    dataset = load_dataset(experiment.dataset, data_root=task.data_root)
    vectors, weights, device = hashed_word_vectors(dataset.classes).vectors, task.weights, task.device
    execution = Execution(device=device, threads=variant.threads)
    if variant.cohort > 1:
        members, shared = paper_cohort(experiment, presets=dataset.name), SharedTrunk(variant.cohort)
        trainers = [
            Trainer(member, dataset, execution, word_vectors=vectors, weights=weights, shared=shared)
            for member in members
        ]
        return _until(endless_steps(trainers, []))
    if variant.loop == "ours":
        return _DeadlineTrainer(experiment, dataset, execution, word_vectors=vectors, weights=weights).train_until
    loop = PlainLoop(
        experiment,
        dataset,
        task.paths,
        device=device,
        workers=variant.workers,
        word_vectors=vectors,
        weights=weights,
    )
    return _until(images for _ in count() for images in loop.train_epoch(0))


def _timed(train_until: TrainUntil, seconds: float) -> tuple[int, float]:
    started = time.perf_counter()
    images = train_until(started + seconds)
    return images, time.perf_counter() - started


def _serve(connection: Connection, task: Task, variant: Variant) -> None:
    """Train for as long as the other side says, until it says None."""
    # Ctrl-C reaches every process of the group; this one simply ends.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(variant.threads)
    train_until = _open(task, variant)
    while (seconds := connection.recv()) is not None:
        connection.send(_timed(train_until, seconds))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s'[: number != 1]}"
