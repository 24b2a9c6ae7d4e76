"""Average precision of all classes at once, with ties grouped as scikit-learn groups them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.long_tail.statistics import GROUPS, ClassStatistics, as_label_matrix
from ...errors import InputError

# Most classes, and most cells, sorted at a time: so many stay in cache, and memory stays flat, while 50,000 x 1,000 at
# once do not. Three times the cells took the same time, at 50,000 x 1,000 and at 1,000,000 x 20.
CLASSES_AT_ONCE = 64
CELLS_AT_ONCE = 2**20
# Names under which the mean AP of all classes and of each group is stored and shown.
SCORE_NAMES = ("total", *GROUPS)


@dataclass(frozen=True, eq=False, kw_only=True)
class Scores:
    """Average precision per class and its means."""

    per_class: NDArray[np.float64]  # `(C,)` in 0..1; NaN for a class without positives
    total: float  # mean over classes with positives
    groups: dict[str, float]  # mean over the classes of each group that have positives; a group without any is absent
    excluded: tuple[int, ...]  # indices of the classes without positives

    def as_metrics(self, split: str) -> dict[str, float]:
        """Return total and groups of a split by MLflow name (`test/total`), in 0..1."""
        return {f"{split}/{name}": value for name, value in {"total": self.total, **self.groups}.items()}


def average_precision(scores: NDArray[Any], labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Average precision of each class: the sum over thresholds of (R_k - R_k-1) P_k, no interpolation.

    Equal scores share one threshold, as in scikit-learn's `average_precision_score`. Images of which a class is unknown
    do not count for it.

    Scores are `(N, C)`, ranked in their own type, infinite ones too; labels `(N, C)` of 0, 1, anything else is unknown;
    the result `(C,)` in 0..1, NaN without positives.

    Raises:
        InputError: if shapes differ, scores are no numbers, or one is NaN.

    >>> average_precision(np.array([[.9], [.8], [.7]]), np.array([[1], [0], [1]])).round(4).tolist()
    [0.8333]
    """
    if scores.shape != labels.shape or scores.ndim != 2:
        raise InputError(f"scores and labels must both be (images, classes); got {scores.shape} and {labels.shape}")
    if scores.dtype.kind not in "fiub":
        raise InputError(f"scores must be numbers; got {scores.dtype}")
    lowest = {"f": -np.inf, "b": False}.get(scores.dtype.kind)
    lowest = np.iinfo(scores.dtype).min if lowest is None else lowest
    at_once = min(max(CELLS_AT_ONCE // max(len(scores), 1), 1), CLASSES_AT_ONCE)
    found = np.empty(scores.shape[1])
    for first in range(0, scores.shape[1], at_once):
        columns = slice(first, first + at_once)
        ascending = np.array(scores[:, columns].T, order="C")
        own = np.array(labels[:, columns].T, order="C")
        positives = [np.sort(of_class[mask]) for of_class, mask in zip(ascending, own == 1, strict=True)]
        unknown = (own != 0) & (own != 1)
        # They come first, and are left out.
        ascending[unknown] = lowest
        ascending.sort(axis=1)
        # NaN comes last.
        if (bad := np.isnan(ascending[:, -1:]).any(axis=1)).any():
            column = first + int(bad.argmax())
            row = int((np.isnan(scores[:, column]) & ~unknown[column - first]).argmax())
            raise InputError(
                f"the score of image {row}, class {column} is NaN; the model diverged: lower the learning rate"
            )
        known = zip(ascending, unknown.sum(axis=1).tolist(), strict=True)
        of_classes = zip((of_class[number:] for of_class, number in known), positives, strict=True)
        found[columns] = [_of_one_class(*of_class) for of_class in of_classes]
    return found


def score(scores: NDArray[np.floating], labels: Any, statistics: ClassStatistics) -> Scores:
    """Average precision per class, in total and by group; the groups are those of the training set.

    Labels are whatever `as_label_matrix` takes; unknown ones do not count.

    Raises:
        InputError: if no class has a positive, or a score is NaN.
    """
    per_class = average_precision(scores, as_label_matrix(labels))
    present = ~np.isnan(per_class)
    if not present.any():
        raise InputError("no class has a positive label: there is nothing to average")
    masks = {group: statistics.group_mask(group) & present for group in GROUPS}
    return Scores(
        per_class=per_class,
        total=float(per_class[present].mean()),
        groups={group: float(per_class[mask].mean()) for group, mask in masks.items() if mask.any()},
        excluded=tuple(int(i) for i in np.flatnonzero(~present)),
    )


def _of_one_class(scores: NDArray[np.floating], positives: NDArray[np.floating]) -> float:
    """Average precision from ascending scores of all images and of the positive ones.

    At the threshold of a positive, everything with at least its score counts: ties share one threshold. Sorting values
    without their indices and looking the few positives up takes a third of the time of an argsort (50,000 x 64, one
    thread, a busy machine: 95 against 315 ms).
    """
    if not len(positives):
        return float("nan")
    predicted = len(scores) - np.searchsorted(scores, positives, "left")
    true_positives = len(positives) - np.searchsorted(positives, positives, "left")
    return float((true_positives / predicted).mean())
