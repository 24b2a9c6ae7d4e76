"""Choosing images by their labels: a long tail as in VOC-MLT and COCO-MLT."""

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .statistics import ClassStatistics

# Share of the Pareto mass that is kept before the tail is cut: the .99 quantile ends the curve.
CUT_QUANTILE = 0.99


def pareto_targets(num_classes: int, *, largest: int, smallest: int = 1, power: float = 6.0) -> list[int]:
    """Wanted class sizes from head to tail: int((max - min) x^-(power+1) + min) on x from 1 to the .99 quantile.

    The density of Sec. 4.1, alpha x_min^alpha / x^(alpha+1), scaled to `largest` at its beginning and to `smallest` at
    infinity; the last class, at the quantile, has a few more. The paper has 800 (VOC) and 1,200 (COCO), and 1.

    >>> pareto_targets(20, largest=800)[:3], pareto_targets(20, largest=800)[-1]
    ([800, 529, 359], 4)
    """
    if num_classes < 2 or not 1 <= smallest <= largest or not 0 < power < float("inf"):
        got = f"got {num_classes} classes, {largest=}, {smallest=}, {power=}"
        raise InputError(f"need at least 2 classes, largest >= smallest >= 1 and power > 0; {got}")
    x = np.linspace(1.0, (1.0 - CUT_QUANTILE) ** (-1.0 / power), num_classes)
    return [int((largest - smallest) * value ** -(power + 1) + smallest) for value in x]


def head_to_tail_order(labels: NDArray[np.uint8]) -> list[int]:
    """Classes by the sum over j of p(i|j) on the full labels, largest first (Sec. 4.1)."""
    total = np.nansum(ClassStatistics.from_labels(labels).conditional, axis=1)
    return [int(i) for i in np.argsort(-total, kind="stable")]


def select_head_to_tail(
    labels: NDArray[np.uint8],
    targets: Sequence[int],
    generator: random.Random,
    *,
    order: Callable[[set[int]], Sequence[int]] = tuple,
) -> list[int]:
    """Select rows of `labels` so that class sizes follow `targets`, adding and removing images class by class.

    The rows come in the order of the running set, which with the default `order` is VOC-MLT's published order.

    Args:
        labels: `(N, C)`, the full training labels.
        targets: wanted class sizes by rank, as `pareto_targets` gives them.
        generator: source of every draw; `random.Random(0)` made VOC-MLT.
        order: how a set of candidates becomes the sequence that is drawn from. The published lists were drawn from
            CPython's own iteration order (`tuple`); `sorted` is the same everywhere.
    """
    if len(targets) != labels.shape[1]:
        raise InputError(f"{len(targets)} targets for {labels.shape[1]} classes: one each is needed")
    members = [set(np.flatnonzero(column == 1).tolist()) for column in labels.T]
    classes_of = [np.flatnonzero(row == 1).tolist() for row in labels]
    selection: set[int] = set()
    kept: list[set[int]] = [set() for _ in members]

    for rank, c in enumerate(head_to_tail_order(labels)):
        surplus = len(kept[c]) - targets[rank]
        if surplus < 0:
            candidates = order(members[c] - kept[c])
            for index in generator.sample(candidates, min(-surplus, len(candidates))):
                selection.add(index)
                for other in classes_of[index]:
                    kept[other].add(index)
        elif surplus > 0:
            for index in generator.sample(order(kept[c]), surplus):
                selection.discard(index)
                for other in classes_of[index]:
                    kept[other].discard(index)
    return list(order(selection))


def ids_digest(ids: Iterable[str]) -> str:
    """SHA-256 of the sorted ids joined by newlines: the identity of a list of images, whatever its order.

    >>> ids_digest(["b", "a"]) == ids_digest(["a", "b"])
    True
    """
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
