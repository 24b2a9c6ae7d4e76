"""The paper's methods that see the same images as one, in lock step and without end: what the benchmarks time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from ...methods.catalogue import TABLES, get_method
from ..runs.cohort import cohort_key

if TYPE_CHECKING:
    from ..experiments.experiment import Experiment
    from .trainer import Trainer


def paper_cohort(experiment: Experiment, *, presets: str) -> list[Experiment]:
    """The experiments of the paper's tables that see the same images as one: for DB-Focal all that are re-sampled.

    Args:
        experiment: one of them.
        presets: name of the dataset whose hyper-parameters the methods take.
    """
    names, key = dict.fromkeys(name for table in TABLES.values() for name in table), cohort_key(experiment)
    members = [replace(experiment, method=get_method(name, dataset=presets)) for name in names]
    return [member for member in members if cohort_key(member) == key]


def endless_steps(trainers: Sequence[Trainer], bad: list[int]) -> Iterator[int]:
    """Epoch after epoch as trainers take them, a step of each after the other; gives the images that each round took.

    Args:
        trainers: of one cohort; an image counts once for each.
        bad: gets the epochs in which a loss was not finite.
    """
    for epoch in count():
        courses, seen = [trainer.begin_epoch(epoch) for trainer in trainers], 0
        pairs = list(zip(trainers, courses, strict=True))
        for _ in zip(*(trainer.steps_of(course) for trainer, course in pairs), strict=True):
            before, seen = seen, sum(course.seen for course in courses)
            yield seen - before
        # A trainer would end here; the speed of the steps is the same with what is not a number.
        for trainer, course in pairs:
            trainer.course = None
            if course.meter.read()[1] is not None:
                bad.append(epoch)
