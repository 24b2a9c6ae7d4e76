"""Average precision against scikit-learn and torchmetrics: the same numbers, and how long each takes."""

import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from ..training.metrics import average_precision

# (images, classes): COCO-MLT's test split, and one of 1,000 classes.
SIZES = ((5000, 80), (50000, 1000))
ROUNDS_UP_TO_CELLS = 1_000_000

Scorer = Callable[[NDArray[np.float32], NDArray[np.uint8]], NDArray[np.float64]]


def compare_scorers(images: int, classes: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Score one random matrix with ties by every library that is installed.

    Of each it returns the median seconds of the rounds, how many times as fast as scikit-learn it is (`ratio`), and the
    largest difference from its values.
    """
    scores, labels = scores_with_ties(images, classes, seed=seed)
    scorers: dict[str, Scorer] = {"scikit-learn": _scikit_learn, "mltbench": average_precision}
    if importlib.util.find_spec("torchmetrics"):
        scorers["torchmetrics"] = _torchmetrics
    for scorer in scorers.values():
        scorer(scores[:1000, :2], labels[:1000, :2])
    seconds: dict[str, list[float]] = {name: [] for name in scorers}
    values = {}
    for _ in range(5 if images * classes <= ROUNDS_UP_TO_CELLS else 1):
        for name, scorer in scorers.items():
            started = time.perf_counter()
            values[name] = scorer(scores, labels)
            seconds[name].append(time.perf_counter() - started)
    reference, slow = values["scikit-learn"], seconds["scikit-learn"]
    return [
        {
            "name": name,
            "images": images,
            "classes": classes,
            "seconds": statistics.median(seconds[name]),
            "ratio": statistics.median(a / b for a, b in zip(slow, seconds[name], strict=True)),
            "difference": float(np.abs(values[name] - reference).max()),
        }
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
    return np.array([average_precision_score(labels[:, i], scores[:, i]) for i in range(scores.shape[1])])


def _torchmetrics(scores: NDArray[np.float32], labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        # Lightning's packages warn about names that others of them moved.
        warnings.simplefilter("ignore")
        from torchmetrics.functional.classification import multilabel_average_precision

        # It wants probabilities, and takes the sigmoid of anything else, in which ties may arise.
        places = np.unique(scores, return_inverse=True)[1].reshape(scores.shape)
        probabilities, targets = torch.from_numpy(places / places.max()), torch.from_numpy(labels).long()
        found = multilabel_average_precision(probabilities, targets, scores.shape[1], average="none")
    return found.numpy().astype(np.float64)
