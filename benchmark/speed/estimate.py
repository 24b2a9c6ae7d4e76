"""How long a plan takes on this machine: a few timed steps of real training, on pixels that need no image."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...datasets.dataset import Dataset
from ...datasets.prepared.dataset_folder import SIDES
from ...methods.samplers import InstanceBalanced
from ..experiments.experiment import Experiment
from ..experiments.plan import PlannedExperiment
from ..networks.backbones import get_backbone
from ..networks.initial_weights import RANDOM
from ..training.execution import Execution
from .harness import Place, Training, Variant, with_threads
from .synthetic import DIFFERENT_IMAGES, Shape, synthetic_dataset

# At least so many steps are timed, after one that is not, and until so many seconds have passed.
LEAST_STEPS, SECONDS = 2, 3.0
SCORED = 64


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Speed of one run alone on this machine, in images per second of training and of scoring."""

    training: float
    scoring: float
    steps: int  # how many were timed
    seconds: float  # that they took


def rate_key(experiment: Experiment) -> tuple[Any, ...]:
    """What decides an experiment's speed; methods differ too little to be timed one by one."""
    training = experiment.training
    return experiment.backbone, *(training[name] for name in ("image_size", "batch_size", "precision"))


def measure_rate(experiment: Experiment, dataset: Dataset, execution: Execution) -> Rate:
    """Time steps of real training and a scoring, on synthetic images of as many classes as the dataset has."""
    size = int(experiment.training["image_size"])
    photographs = get_backbone(experiment.backbone).for_photographs
    side, test_side = (SIDES["train"], SIDES["test"]) if photographs else (size, size)
    images, classes = max(DIFFERENT_IMAGES, int(experiment.training["batch_size"])), len(dataset.classes)
    counts = {"largest": images // 2, "smallest": 1}
    shape = Shape(name="synthetic", images=images, classes=classes, test_images=SCORED, side=side, **counts)
    # Neither initial weights nor which images are drawn decide the speed.
    timed = replace(experiment, weights_digest=RANDOM, method=replace(experiment.method, sampler=InstanceBalanced()))
    variant = Variant(name="estimate", threads=execution.threads)
    with with_threads(execution.threads):
        place = Place(device=execution.device)
        training = Training(timed, synthetic_dataset(shape, image_size=test_side), variant, place)
        training.take(0)
        taken, started = training.take(SECONDS, least=LEAST_STEPS), time.perf_counter()
        training.learners[0].evaluate("test")
        scoring = SCORED / (time.perf_counter() - started)
    return Rate(training=taken.images / taken.seconds, scoring=scoring, steps=taken.steps, seconds=taken.seconds)


def expected_seconds(experiments: Sequence[PlannedExperiment], rates: Mapping[tuple[Any, ...], Rate]) -> float:
    """Seconds of training, one experiment after the other; rates are found by `rate_key`."""
    return sum(planned.images / rates[rate_key(planned.experiment)].training for planned in experiments)
