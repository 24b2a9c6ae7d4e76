"""How speed is measured: variants in processes of their own, timed several times in turns after a warm-up."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from math import inf
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import torch

from ...datasets.dataset import Dataset
from ...datasets.word_vectors import hashed_word_vectors
from ...methods.catalogue import TABLES, get_method, whose_paper_values
from ...processes import end_with_parent
from ..experiments.experiment import Experiment
from ..training.devices import set_up_process, wait_for
from ..training.execution import DivergedError, Execution
from ..training.feed import Feed
from ..training.learner import Learner
from .plain_loop import PlainLoop

# Untimed share of a measurement before it. It also outlasts what the loader workers of the variant before prefetch.
WARM_UP = 0.25


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train."""

    name: str
    loop: Literal["plain", "ours"] = "ours"
    threads: int = 1  # torch threads of each run
    workers: int = 0  # loader workers of the plain loop
    runs: int = 1  # independent runs at once, one process each
    cohort: int = 1  # methods trained together on one feed; an image counts once for each


class Taken(NamedTuple):
    """What was trained in a measurement."""

    images: int
    steps: int
    seconds: float


def paper_cohort(experiment: Experiment, *, presets: str) -> list[Experiment]:
    """The experiments of the paper's tables that see the same images as one: for DB-Focal all that are re-sampled.

    `presets` names the dataset whose hyper-parameters of the paper the methods take; tuned ones differ in the sampler.
    """
    names, own = dict.fromkeys([*TABLES[1], *TABLES[2]]), experiment.method
    methods = [get_method(name, dataset=whose_paper_values(presets)) for name in names]
    same = [method for method in methods if (method.sampler, method.schedule) == (own.sampler, own.schedule)]
    return [replace(experiment, method=method) for method in same]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and from what variants are trained; plain values, so that they can be sent to processes."""

    device: str
    presets: str = ""  # name of the dataset whose hyper-parameters a cohort takes
    paths: tuple[Path, ...] = ()  # image files of the training split, for the plain loop
    weights: Path | None = None  # file of the backbone's initial weights, or None


class Training:
    """A variant under way in this process: an endless row of steps, of which nothing is kept."""

    def __init__(self, experiment: Experiment, dataset: Dataset, variant: Variant, place: Place) -> None:
        set_up_process(variant.threads)
        self.threads, self.device, self.finite = variant.threads, torch.device(place.device), True
        vectors, weights = hashed_word_vectors(dataset.classes).vectors, place.weights
        more: dict[str, Any] = {"word_vectors": vectors, "weights": weights}
        if variant.loop == "plain":
            loop = PlainLoop(experiment, dataset, place.paths, device=place.device, workers=variant.workers, **more)
            self.steps: Iterator[int] = (images for _ in count() for images in loop.train_epoch(0))
            return
        cohort = paper_cohort(experiment, presets=place.presets) if variant.cohort > 1 else [experiment]
        execution = Execution(device=place.device, threads=variant.threads)
        self.learners = [Learner(member, dataset, execution, **more) for member in cohort]
        self.feed = Feed(experiment, dataset, self.learners[0].network, self.device)
        self.steps = self._learn()

    def train(self, seconds: float) -> Taken:
        """Train for so many seconds after a warm-up, one step at least."""
        torch.set_num_threads(self.threads)
        self.take(WARM_UP * seconds)
        return self.take(seconds)

    def take(self, seconds: float, *, least: int = 1) -> Taken:
        """Train for so many seconds, a number of steps at least."""
        wait_for(self.device)
        started, images, steps = time.perf_counter(), 0, 0
        while steps < least or time.perf_counter() < started + seconds:
            images, steps = images + next(self.steps), steps + 1
        wait_for(self.device)
        return Taken(images, steps, time.perf_counter() - started)

    def _learn(self) -> Iterator[int]:
        for epoch in count():
            self.feed.begin_epoch(epoch)
            for batch in self.feed.batches():
                for learner in self.learners:
                    learner.learn(batch)
                images = len(batch) * len(self.learners)
                del batch  # or two feature maps would lie in memory
                yield images
            for learner in self.learners:
                # A run would fail here; the speed of the steps is the same with what is not a number.
                try:
                    learner.end_epoch(self.feed)
                except DivergedError:
                    self.finite = False
            self.feed.end_epoch()


class WorkerError(RuntimeError):
    """A process of a variant failed; the message says why."""


class Workers:
    """Spawned processes that each hold one object, `make(*arguments)`, and call its methods at the same time.

    Nothing is waited for after the `deadline`, a `time.monotonic()`, or an error: processes that still work then are
    killed, and those that they have started with them.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any, number: int = 1, deadline: float = inf) -> None:
        self._made, self._deadline, self._pids = (make, arguments), deadline, list[Future[int]]()
        self._pools = [ProcessPoolExecutor(1, get_context("spawn"), _begin) for _ in range(number)]

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method in all processes at once; return what each of them answers.

        Raises:
            WorkerError: if one fails, dies, or does not answer in time.
        """
        self._pids = self._pids or [pool.submit(os.getpid) for pool in self._pools]
        try:
            answers = [pool.submit(_call, *self._made, method, arguments) for pool in self._pools]
            wait = None if self._deadline == inf else max(self._deadline - time.monotonic(), 0)
            return [answer.result(wait) for answer in answers]
        except BrokenProcessPool:
            raise WorkerError("its process died; what it said, if anything, is above") from None
        except TimeoutError:
            raise WorkerError("ended, because the time was up") from None
        except Exception as error:  # whatever it is, it is this variant's alone
            lines = str(error).strip().splitlines() or [""]
            raise WorkerError(f"{type(error).__name__}: {lines[0][:300]}") from error

    def rate(self, *arguments: Any) -> float:
        """Images per second of all processes together, by the method `train`."""
        return float(sum(taken.images / taken.seconds for taken in self.call("train", *arguments)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None or time.monotonic() >= self._deadline:
            for pid in self._pids:
                with suppress(Exception):
                    # Loader workers hold the pipe whose end tells that a process has died: they have to go, too.
                    os.killpg(pid.result(0), signal.SIGKILL)
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)


_HELD: list[Any] = []


def _begin() -> None:
    # A group of its own, which Ctrl-C does not reach; the process that started it ends it.
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    end_with_parent()


def _call(make: Callable[..., Any], arguments: Sequence[Any], method: str, given: Sequence[Any]) -> Any:
    """Call a method of what this process holds; the first call makes it."""
    if not _HELD:
        _HELD.append(make(*arguments))
    return getattr(_HELD[0], method)(*given)


def rates_in_turns(variants: Sequence[Callable[[float], float]], *, rounds: int, seconds: float) -> list[list[float]]:
    """Measure variants, each a function from seconds to a rate, in turns; return the rates of each by round.

    The order turns around each time, so that what else the machine does meanwhile hits all alike. A short first round,
    in which everything starts, does not count.
    """
    rates: list[list[float]] = [[] for _ in variants]
    for number in range(rounds + 1):
        forth = list(enumerate(variants))
        for i, rate in reversed(forth) if number % 2 else forth:
            rates[i].append(rate(seconds if number else WARM_UP * seconds))
    return [each[1:] for each in rates]


@contextmanager
def with_threads(number: int) -> Iterator[None]:
    """Within, torch uses so many threads in this process."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def sampled(read: Callable[[], float], every: float) -> Iterator[list[float]]:
    """Read a value every so many seconds while a block runs, until reading fails; give the values."""
    values, stop = list[float](), threading.Event()

    def follow() -> None:
        with suppress(Exception):
            while not stop.wait(every):
                values.append(read())

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield values
    finally:
        stop.set()
        thread.join()
