"""Bootstrap over test images: how much a result depends on which images happened to be in the test split.

Resampling copies of scores would sort them anew every time. Here each resample is a whole-number weight per image, and
one sorting of the scores serves all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

# Weights of this many resamples are gathered at once: (64, 5,000) of float64 are 2.5 MB, which stay in cache.
RESAMPLES_AT_ONCE = 64
LEVEL = 0.95


def resample_weights(images: int, resamples: int, *, seed: int = 0) -> NDArray[np.int32]:
    """How often each image is drawn: `(resamples, images)`, every row sums to `images`.

    The same arguments give the same weights, so that all methods are scored on the same resamples (paired).
    """
    generator = RandomState(seed)
    drawn = [generator.randint(0, images, size=images) for _ in range(resamples)]
    return np.stack([np.bincount(indices, minlength=images) for indices in drawn]).astype(np.int32)


def weighted_average_precision(
    scores: NDArray[np.float32], labels: NDArray[np.uint8], weights: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Average precision of each class under each row of weights.

    AP = sum over positives k of w_k P(k) / sum of w_k, with P(k) the weighted precision among all images that score at
    least as high: what scikit-learn gives for a sample that holds image i `weights[i]` times.

    Args:
        scores: `(N, C)`.
        labels: `(N, C)` of 0/1.
        weights: `(B, N)`, not negative.

    Returns:
        `(B, C)` in 0..1; NaN where no positive of the class was drawn.
    """
    columns = [
        _one_class(scores[:, c], labels[:, c].astype(bool), weights.astype(np.float64)) for c in range(scores.shape[1])
    ]
    return np.stack(columns, axis=1)


def _one_class(
    scores: NDArray[np.float32], positive: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.flatnonzero(positive[order])
    if not len(hits):
        return np.full(len(weights), np.nan)
    # Every image of a tie has the precision at the tie's last rank.
    last_of_tie = np.searchsorted(-ordered, -ordered[hits], side="right") - 1
    hits_above = np.searchsorted(hits, last_of_tie, side="right") - 1
    parts = [
        _precisions(weights[i : i + RESAMPLES_AT_ONCE, order], hits, last_of_tie, hits_above)
        for i in range(0, len(weights), RESAMPLES_AT_ONCE)
    ]
    return np.concatenate(parts)


def _precisions(
    ordered: NDArray[np.float64], hits: NDArray[np.int64], last: NDArray[np.int64], hits_above: NDArray[np.int64]
) -> NDArray[np.float64]:
    taken = ordered.cumsum(axis=1)[:, last]
    of_hits = ordered[:, hits]
    true = of_hits.cumsum(axis=1)[:, hits_above]
    total = of_hits.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        terms = np.where(of_hits > 0, of_hits * true / taken, 0.0)
        return np.where(total > 0, terms.sum(axis=1) / total, np.nan)


def group_means(per_class: NDArray[np.float64], groups: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Mean AP over all classes and over each group, per resample, in percent: `(B,)` each.

    Args:
        per_class: `(B, C)` in 0..1; classes that are NaN in a resample are left out of it.
        groups: C names.
    """
    masks = {"total": np.ones(len(groups), dtype=bool)}
    masks |= {group: np.array([name == group for name in groups]) for group in dict.fromkeys(groups)}
    return {name: 100 * _mean(per_class[:, mask]) for name, mask in masks.items()}


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    present = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(present, values, 0).sum(axis=1) / present.sum(axis=1))


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A percentile interval over resamples."""

    low: float
    high: float


def percentile_interval(values: NDArray[np.float64], *, level: float = LEVEL) -> Interval:
    """Interval that holds the middle `level` of the resamples; NaN ones are left out."""
    low, high = np.nanpercentile(values, [50 * (1 - level), 50 * (1 + level)])
    return Interval(low=float(low), high=float(high))
