"""Average precision against scikit-learn and torchmetrics: the same numbers, and how long each takes."""

from __future__ import annotations

import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..training.metrics import average_precision

# (images, classes): COCO-MLT's test split, and one of 1,000 classes.
SIZES = ((5000, 80), (50000, 1000))
ROUNDS_UP_TO_CELLS = 1_000_000

Scorer = Callable[[NDArray[np.float32], NDArray[np.uint8]], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class ScorerTime:
    """One way to score one size.

    Attributes:
        name: of the library.
        images: N.
        classes: C.
        seconds: median of the rounds.
        ratio: seconds of scikit-learn over these.
        difference: largest difference from scikit-learn's values.
    """

    name: str
    images: int
    classes: int
    seconds: float
    ratio: float
    difference: float


def compare_scorers(images: int, classes: int, *, seed: int = 0) -> list[ScorerTime]:
    """Score one random matrix with ties by every library that is here."""
    scores, labels = scores_with_ties(images, classes, seed=seed)
    scorers: dict[str, Scorer] = {"scikit-learn": _scikit_learn, "mltbench": average_precision}
    if importlib.util.find_spec("torchmetrics"):
        scorers["torchmetrics"] = _torchmetrics
    average_precision(scores[:100, :2], labels[:100, :2])
    for scorer in scorers.values():
        scorer(scores[:1000, :2], labels[:1000, :2])
    rounds = 5 if images * classes <= ROUNDS_UP_TO_CELLS else 1
    seconds: dict[str, list[float]] = {name: [] for name in scorers}
    values = {}
    for _ in range(rounds):
        for name, scorer in scorers.items():
            started = time.perf_counter()
            values[name] = scorer(scores, labels)
            seconds[name].append(time.perf_counter() - started)
    reference = values["scikit-learn"]
    return [
        ScorerTime(
            name=name,
            images=images,
            classes=classes,
            seconds=statistics.median(seconds[name]),
            ratio=statistics.median(a / b for a, b in zip(seconds["scikit-learn"], seconds[name], strict=True)),
            difference=float(np.abs(values[name] - reference).max()),
        )
        for name in scorers
    ]


def scores_with_ties(images: int, classes: int, *, seed: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Random scores, half of them on a coarse grid, and labels with few positives, one per class at least."""
    generator = np.random.Generator(np.random.PCG64(seed))
    labels = (generator.random((images, classes), dtype=np.float32) < 0.03).astype(np.uint8)
    labels[generator.integers(0, images, classes), np.arange(classes)] = 1
    scores = generator.standard_normal((images, classes), dtype=np.float32) + labels
    coarse = generator.random((images, classes), dtype=np.float32) < 0.5
    return np.where(coarse, scores.round(1), scores).astype(np.float32), labels


def _scikit_learn(scores: NDArray[np.float32], labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    from sklearn.metrics import average_precision_score

    return np.array([average_precision_score(labels[:, i], scores[:, i]) for i in range(scores.shape[1])])


def _torchmetrics(scores: NDArray[np.float32], labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    import torch

    with warnings.catch_warnings():
        # Lightning's packages warn about names that others of them moved.
        warnings.simplefilter("ignore")
        from torchmetrics.functional.classification import multilabel_average_precision

        # It wants probabilities, and takes the sigmoid of anything else, in which ties may arise.
        places = np.unique(scores, return_inverse=True)[1].reshape(scores.shape)
        probabilities = torch.from_numpy(places / places.max())
        number = scores.shape[1]
        found = multilabel_average_precision(probabilities, torch.from_numpy(labels).long(), number, average="none")
    return found.numpy().astype(np.float64)
