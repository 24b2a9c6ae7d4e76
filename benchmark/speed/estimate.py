"""How long a plan takes on this machine: as finished runs of its kind took here, else from a few timed steps."""

import heapq
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from ...datasets.dataset import Dataset
from ...datasets.prepared.dataset_folder import SIDES
from ...datasets.registry import load_dataset
from ...methods.catalogue import get_method
from ...processes import usable_cores
from ..executors.run_plan import form_cohorts
from ..executors.settings import RunSettings
from ..experiments.experiment import Experiment
from ..experiments.plan import Plan, PlannedExperiment
from ..networks.backbones import get_backbone
from ..networks.initial_weights import RANDOM
from ..runs.folder import RunFolder
from ..runs.provenance import machine
from ..training.devices import wait_for
from ..training.execution import DivergedError, Execution
from .harness import Place, Training, Variant, with_threads
from .synthetic import DIFFERENT_IMAGES, Shape, synthetic_dataset

# At least so many steps are timed, after one that is not, and until so many seconds have passed.
LEAST_STEPS, SECONDS = 2, 0.7
# On a CPU a photograph takes as long in a batch of 4 as in one of 32, and four steps of 32 take a minute.
PHOTOGRAPHS_TIMED = 4
SCORED = 16
# The newest run folders, of which those of the same kind are taken.
FOLDERS_READ = 100


class Kind(NamedTuple):
    """What decides the speed of an experiment; methods differ too little to be timed one by one."""

    dataset: str
    backbone: str
    image_size: int
    batch_size: int
    precision: str
    cohort: int  # experiments that are trained together


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Seconds that one image takes, in training for each experiment of a cohort, and in scoring."""

    training: float
    scoring: float
    steps: int = 0  # that were timed now
    runs: int = 0  # finished ones that had this speed


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How long a plan takes, and how that is known."""

    seconds: float
    images: int  # of training that are left
    scored: int
    workers: int  # at once
    speeds: Mapping[Kind, Speed]
    training_seconds: float  # of all workers together

    def __str__(self) -> str:
        times = f"{self.workers} x " if self.workers > 1 else ""
        runs, steps = (sum(getattr(speed, name) for speed in self.speeds.values()) for name in ("runs", "steps"))
        known = [f"as {runs} finished run{'s'[: runs > 1]} here"] if runs else []
        known += [f"{steps} steps timed now"] if steps else []
        return (
            f"about {duration(self.seconds)} on this machine ({self.images:,} images at {times}"
            f"{self.images / max(self.training_seconds, 1e-9):,.0f}/s: {' and '.join(known)})"
        )


def kind_of(dataset: str, backbone: str, training: Mapping[str, Any], cohort: int) -> Kind:
    """The kind of an experiment with these `training` settings, trained in a cohort of so many."""
    size, batch, precision = (training[name] for name in ("image_size", "batch_size", "precision"))
    return Kind(dataset, backbone, size, batch, precision, cohort)


def estimate(
    plan: Plan,
    missing: Sequence[PlannedExperiment],
    runs: Path,
    settings: RunSettings,
    *,
    begun: Mapping[str, int] = {},
    timing: bool = True,
) -> Estimate | None:
    """Estimate how long the missing experiments of a plan take on this machine.

    Args:
        plan: whose experiments they are.
        missing: at least one.
        runs: folder of the run folders, finished ones among them.
        settings: how the plan is run.
        begun: training images that were seen before an interruption, by experiment id.
        timing: whether steps of a kind without finished runs are timed; if not, there is no estimate then.
    """
    dataset, execution = load_dataset(plan.dataset, data_root=settings.data_root), settings.execution
    sizes = {name: len(dataset.labels(name)) for name in plan.splits[1:] if name in dataset.splits}
    validation, test = (sizes.get(name, 0) for name in ("validation", "test"))
    cohorts = form_cohorts(missing, largest=settings.largest_cohort(len(missing)))
    known, speeds = finished_speeds(runs, execution, scored=validation + test), dict[Kind, Speed]()
    times, training_seconds, images, scored = [], 0.0, 0, 0
    workers = min(settings.workers, len(cohorts))
    # More threads than cores take turns.
    crowd = max(1.0, workers * execution.threads / usable_cores()) if execution.device == "cpu" else 1.0
    for cohort in cohorts:
        first = cohort[0].experiment
        kind = kind_of(first.dataset, first.backbone, first.training, len(cohort))
        if kind not in speeds:
            if kind not in known and not timing:
                return None
            speeds[kind] = known.get(kind) or measure_speed(first, dataset, execution, kind.cohort)
        left = sum(planned.images - begun.get(planned.experiment.id, 0) for planned in cohort)
        scorings = sum(planned_scorings(planned, execution) * validation + test for planned in cohort)
        training = crowd * left * speeds[kind].training
        times.append(training + crowd * scorings * speeds[kind].scoring)
        images, scored, training_seconds = images + left, scored + scorings, training_seconds + training
    return Estimate(
        seconds=makespan(times, workers),
        images=images,
        scored=scored,
        workers=workers,
        speeds=speeds,
        training_seconds=training_seconds,
    )


def makespan(times: Sequence[float], workers: int) -> float:
    """When the last of some jobs ends that are begun in order, each as soon as a worker is free.

    >>> makespan([3, 2, 2], 2)
    4
    """
    free: list[float] = [0] * workers
    for seconds in times:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def planned_scorings(planned: PlannedExperiment, execution: Execution) -> int:
    """How often an experiment scores the validation split: after the last epoch, and every so many before it."""
    epochs, every = planned.experiment.training["schedule"]["epochs"], execution.evaluate_every
    return 1 + ((epochs - 1) // every if every else 0)


def finished_speeds(runs: Path, execution: Execution, *, scored: int) -> dict[Kind, Speed]:
    """Speeds of the newest finished runs that this kind of machine has trained with as many threads.

    `scored` are the images that each has scored at its end.
    """
    here = machine(execution.device, execution.threads)
    paths = sorted(runs.glob("*/provenance.json"), key=lambda path: path.stat().st_mtime)[-FOLDERS_READ:]
    found: dict[Kind, list[tuple[float, float]]] = {}
    for path in paths:
        # A folder that is being deleted, or that another version wrote, says nothing.
        with suppress(OSError, ValueError, KeyError):
            made_with = json.loads(path.read_text(encoding="utf-8"))
            if any(made_with[name] != here[name] for name in ("device_name", "threads")):
                continue
            data = json.loads((path.parent / "experiment.json").read_text(encoding="utf-8"))
            entries = RunFolder(path.parent).entries()
            cost = {name: value for entry in entries for name, value in entry.metrics.items()}
            last = max(entry.time for entry in entries if entry.event == "epoch")
            cohort = int(made_with.get("cohort", 1))
            # They are scored one after the other: on average the end is (cohort + 1) / 2 scorings away.
            scoring = (entries[-1].time - last) / 1000 / ((cohort + 1) / 2) / max(scored, 1)
            deciding = data["deciding"]
            kind = kind_of(data["labels"]["dataset"], deciding["backbone"], deciding["training"], cohort)
            speed = 1 / cost["cost/images_per_second"], scoring
            found.setdefault(kind, []).append(speed)
    return {
        kind: Speed(training=fmean(t for t, _ in each), scoring=fmean(s for _, s in each), runs=len(each))
        for kind, each in found.items()
    }


def measure_speed(experiment: Experiment, dataset: Dataset, execution: Execution, cohort: int = 1) -> Speed:
    """Time steps of real training and a scoring, on synthetic images of as many classes as the dataset has."""
    size, batch = int(experiment.training["image_size"]), int(experiment.training["batch_size"])
    photographs = get_backbone(experiment.backbone).for_photographs
    if photographs and execution.device == "cpu":
        batch = min(batch, PHOTOGRAPHS_TIMED)
    side, test_side = (SIDES["train"], SIDES["test"]) if photographs else (size, size)
    images, classes = max(DIFFERENT_IMAGES, batch), len(dataset.classes)
    counts = {"largest": images // 2, "smallest": 1}
    scored = PHOTOGRAPHS_TIMED if photographs and execution.device == "cpu" else SCORED
    shape = Shape(name="synthetic", images=images, classes=classes, test_images=scored, side=side, **counts)
    # Neither weights nor method decide the speed, and a loss of the user's that fails must fail in its own run.
    timed = replace(
        experiment,
        training={**experiment.training, "batch_size": batch},
        weights_digest=RANDOM,
        method=get_method("erm"),
    )
    variant = Variant(name="estimate", threads=execution.threads)
    with with_threads(execution.threads):
        place = Place(device=execution.device)
        training = Training(timed, synthetic_dataset(shape, image_size=test_side), variant, place)
        steps = _timed_steps(training)
        started = time.perf_counter()
        training.learners[0].evaluate("test")
        scoring = (time.perf_counter() - started) / scored
    seen = sum(step.images for step in steps)
    shared, own = sum(step.feed for step in steps) / seen, sum(step.learner for step in steps) / seen
    return Speed(training=shared / cohort + own, scoring=scoring, steps=len(steps))


@dataclass(frozen=True, kw_only=True)
class _Step:
    images: int
    feed: float  # seconds of what a cohort shares
    learner: float  # seconds of what each experiment does by itself


def _timed_steps(training: Training) -> list[_Step]:
    """Steps of training after a first one, in which everything starts."""
    steps = list[_Step]()
    (learner,), feed, ends = training.learners, training.feed, 0.0
    for epoch in count():
        feed.begin_epoch(epoch)
        began = time.perf_counter()
        for number, batch in enumerate(feed.batches()):
            wait_for(training.device)
            drawn = time.perf_counter()
            learner.learn(batch)
            wait_for(training.device)
            done = time.perf_counter()
            if epoch or number:
                steps.append(_Step(images=len(batch), feed=drawn - began, learner=done - drawn))
            ends = ends or done + SECONDS
            del batch  # or two feature maps would lie in memory
            if len(steps) >= LEAST_STEPS and done >= ends:
                return steps
            began = done
        # A run would fail here; the speed of the steps is the same with what is not a number.
        with suppress(DivergedError):
            learner.end_epoch(feed)
        feed.end_epoch()
    raise AssertionError


def duration(seconds: float) -> str:
    """As people say it.

    >>> duration(50), duration(600), duration(7200), duration(500_000)
    ('50 seconds', '10 minutes', '2.0 hours', '138.9 hours (5.8 days)')
    """
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    hours = seconds / 3600
    return f"{hours:.1f} hours" + (f" ({hours / 24:.1f} days)" if hours > 48 else "")
