"""How long a plan takes on this machine: a few timed steps of the real trainer, on pixels that need no image."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.random import RandomState

from ...datasets.dataset import Dataset, Split
from ...datasets.prepared.dataset_folder import SIDES
from ...datasets.word_vectors import hashed_word_vectors
from ..experiments.experiment import Experiment
from ..experiments.plan import PlannedExperiment
from ..experiments.streams import torch_stream
from ..networks.backbones import get_backbone
from ..networks.initial_weights import RANDOM
from ..training.augmentation import DRAWS_PER_IMAGE
from ..training.devices import wait_for
from ..training.execution import Execution
from ..training.feed import Feed
from ..training.learner import Learner

# At least so many steps are timed, after one that is not, and until so many seconds have gone.
LEAST_STEPS, SECONDS = 2, 3.0
SCORED = 64


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Speed of one run alone on this machine.

    Attributes:
        training: images per second.
        scoring: images per second.
        steps: how many were timed.
        seconds: that they took.
    """

    training: float
    scoring: float
    steps: int
    seconds: float


def rate_key(experiment: Experiment) -> tuple[Any, ...]:
    """What decides an experiment's speed; methods differ too little to be timed one by one."""
    training = experiment.training
    return experiment.backbone, *(training[name] for name in ("image_size", "batch_size", "precision"))


def measure_rate(experiment: Experiment, dataset: Dataset, execution: Execution) -> Rate:
    """Time steps of the real trainer and a scoring, on one random picture in place of every image.

    Args:
        experiment: one of those that are planned; its initial weights do not matter here.
        dataset: of which the training labels alone are read.
        execution: device and threads.
    """
    untrained, stand_in = replace(experiment, weights_digest=RANDOM), _synthetic(experiment, dataset)
    vectors = hashed_word_vectors(dataset.classes).vectors if experiment.method.head.needs_word_vectors else None
    with _threads(execution.threads):
        learner = Learner(untrained, stand_in, execution, word_vectors=vectors)
        feed = Feed(untrained, stand_in, learner.network, learner.device)
        size = min(int(experiment.training["batch_size"]), len(stand_in.split("train")))
        generator = torch_stream(0, "augmentation")
        steps, seconds, started = 0, 0.0, 0.0
        while steps < LEAST_STEPS or seconds < SECONDS:
            indices = torch.randint(len(stand_in.split("train")), (size,), generator=generator).to(learner.device)
            draws = torch.rand(size, DRAWS_PER_IMAGE, generator=generator).to(learner.device)
            learner.step(feed.features(indices, feed.prepare(draws)), feed.data.targets(indices))
            wait_for(learner.device)
            if not started:
                started = time.perf_counter()
                continue
            steps, seconds = steps + 1, time.perf_counter() - started
        scoring = time.perf_counter()
        learner.evaluate("test")
        return Rate(
            training=steps * size / seconds,
            scoring=SCORED / (time.perf_counter() - scoring),
            steps=steps,
            seconds=seconds,
        )


def expected_seconds(experiments: Sequence[PlannedExperiment], rates: Mapping[tuple[Any, ...], Rate]) -> float:
    """Seconds of training, one experiment after the other; rates are found by `rate_key`."""
    return sum(planned.images / rates[rate_key(planned.experiment)].training for planned in experiments)


def _synthetic(experiment: Experiment, dataset: Dataset) -> Dataset:
    """The dataset's training labels with one picture for all images, which takes the memory of one."""
    labels = dataset.labels("train")
    photographs = get_backbone(experiment.backbone).own is None
    side = SIDES["train"] if photographs else int(experiment.training["image_size"])
    test_side = SIDES["test"] if photographs else side
    picture = RandomState(0).randint(0, 256, (side, side, 3)).astype(np.uint8)
    rows = np.resize(np.arange(len(labels)), SCORED)
    splits = {
        "train": _repeated(picture, labels),
        "test": _repeated(np.ascontiguousarray(picture[:test_side, :test_side]), labels[rows]),
    }
    return Dataset(
        name=dataset.name,
        classes=dataset.classes,
        digests={name: split.digest for name, split in splits.items()},
        openers={name: lambda split=split: split for name, split in splits.items()},  # type: ignore[misc]
    )


def _repeated(picture: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> Split:
    return Split(
        images=np.broadcast_to(picture, (len(labels), *picture.shape)),
        labels=labels,
        ids=np.arange(len(labels)).astype(str),
        recorded_digest="synthetic",
    )


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
