"""Ways to train that the rehearsal measures, each in a process of its own: a failed capture spoils a device."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

import torch

from ...datasets.dataset import Dataset, Split
from ..experiments.experiment import Experiment
from ..training.devices import wait_for
from ..training.execution import Execution
from ..training.lock_step import endless_steps, paper_cohort
from ..training.shared_trunk import SharedTrunk
from ..training.trainer import Trainer
from .plain_loop import PlainLoop, write_images
from .rehearsal_data import DIFFERENT_IMAGES, Setting, Shape, rehearsed_experiment, synthetic_dataset

ROUNDS = 3
WARM_UP_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train.

    Attributes:
        name: as tables print it.
        loop: `plain` or `ours`.
        compiled: whether augmentation, trunk and learning part go through `torch.compile`.
        graphed: whether what is learnt from a feature map is replayed as a CUDA graph.
        cohort: whether all methods that see the same images train in lock step; images count once per method.
        runs: processes at once.
    """

    name: str
    loop: Literal["plain", "ours"] = "ours"
    compiled: bool = False
    graphed: bool = False
    cohort: bool = False
    runs: int = 1


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What one process measured on one shape.

    Attributes:
        rates: images per second of each round.
        peak_mib: most memory: reserved on the GPU, or resident on the CPU.
        setup_seconds: until the first steps were done, compilation and capture included.
        utilisation: mean per cent of the time in which the GPU was busy, or None where nothing tells.
        finite: whether all losses were.
        evaluation_seconds: scoring the test split once; None except in the eager variant.
        flop_per_image: counted in a training step; None except in the eager variant.
    """

    rates: tuple[float, ...]
    peak_mib: float
    setup_seconds: float
    utilisation: float | None = None
    finite: bool = True
    evaluation_seconds: float | None = None
    flop_per_image: float | None = None

    @property
    def images_per_second(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.rates)


@dataclass
class _Run:
    """A training on its way: an endless row of steps, each of which says how many images it took."""

    steps: Iterator[int]
    trainer: Trainer | None = None
    bad: list[int] = field(default_factory=list)


def measure(setting: Setting, shape: Shape, variant: Variant, barrier: Any) -> Speed:
    """Measure a variant on a shape here.

    Args:
        setting: what is rehearsed.
        shape: of the dataset.
        variant: how to train.
        barrier: that all processes of the variant wait at before each round.
    """
    torch.set_num_threads(setting.threads)
    device = torch.device(setting.device)
    dataset = synthetic_dataset(shape, image_size=setting.image_size)
    experiment = rehearsed_experiment(setting, shape, dataset)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run = open_run(setting, experiment, dataset, variant, Path(folder))
        for _ in range(WARM_UP_STEPS):
            next(run.steps)
        wait_for(device)
        setup, rates = time.perf_counter() - started, []
        with _utilisation(device) as busy:
            for _ in range(ROUNDS):
                barrier.wait()
                rates.append(_rate(run.steps, setting.seconds / ROUNDS, device))
        extra = _extras(run.trainer, setting) if run.trainer and variant.name == "eager" else {}
    return Speed(
        rates=tuple(rates),
        peak_mib=_peak_mib(device),
        setup_seconds=setup,
        utilisation=statistics.fmean(busy) if busy else None,
        finite=not run.bad,
        **extra,
    )


def open_run(setting: Setting, experiment: Experiment, dataset: Dataset, variant: Variant, folder: Path) -> _Run:
    """Make a training ready; the plain loop's images are written to `folder`."""
    if variant.loop == "plain":
        split = dataset.split("train")
        written = write_images(_first(split), folder)
        paths = [written[i % len(written)] for i in range(len(split))]
        loop = PlainLoop(experiment, dataset, paths, device=setting.device, workers=setting.workers)
        return _Run(steps=(images for _ in count() for images in loop.train_epoch(0)))
    execution = Execution(device=setting.device, threads=setting.threads, graphed=variant.graphed)
    presets = experiment.dataset.replace("-shaped", "-mlt")
    experiments = paper_cohort(experiment, presets=presets) if variant.cohort else [experiment]
    shared = SharedTrunk(len(experiments)) if variant.cohort else None
    trainers = [Trainer(member, dataset, execution, shared=shared) for member in experiments]
    if variant.compiled:
        for trainer in trainers:
            _compile(trainer, setting.compiler)
    run = _Run(steps=iter(()), trainer=trainers[0])
    run.steps = endless_steps(trainers, run.bad)
    return run


def _compile(trainer: Trainer, backend: str) -> None:
    # The trunk is folded by its first use, outside of what is compiled.
    trainer.train_step(*_first_batch(trainer))
    for owner, name in ((trainer, "stem"), (trainer.network, "learning_part")):
        setattr(owner, name, torch.compile(getattr(owner, name), backend=backend, dynamic=False))


def _rate(steps: Iterator[int], seconds: float, device: torch.device) -> float:
    wait_for(device)
    started, images = time.perf_counter(), 0
    while not images or time.perf_counter() < started + seconds:
        images += next(steps)
    wait_for(device)
    return images / (time.perf_counter() - started)


def _extras(trainer: Trainer, setting: Setting) -> dict[str, float]:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        trainer.train_step(*_first_batch(trainer))
    started = time.perf_counter()
    trainer.evaluate("test")
    spent = time.perf_counter() - started
    return {"evaluation_seconds": spent, "flop_per_image": counter.get_total_flops() / setting.batch_size}


def _first_batch(trainer: Trainer) -> tuple[torch.Tensor, torch.Tensor]:
    course = trainer.begin_epoch(0)
    batch = next(trainer.batches(len(course.indices)))
    return course.on_device[batch], trainer.draw(batch.stop - batch.start)


def _first(split: Split) -> Split:
    number = min(len(split), DIFFERENT_IMAGES)
    return replace(split, images=split.images[:number], labels=split.labels[:number], ids=split.ids[:number])


@contextmanager
def _utilisation(device: torch.device) -> Iterator[list[float]]:
    """Per cent of the time in which the GPU was busy, twice a second; empty where nothing tells."""
    values: list[float] = []
    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(0.5):
            try:
                values.append(float(torch.cuda.utilization(device)))
            except Exception:  # without pynvml, or without a driver that tells: the measurement goes on
                return

    thread = threading.Thread(target=follow, daemon=True)
    if device.type == "cuda":
        thread.start()
    try:
        yield values
    finally:
        stop.set()
        if thread.is_alive():
            thread.join()


def _peak_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
