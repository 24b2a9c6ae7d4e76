"""Three splits from the given ones, and a long-tailed training set from the training images."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, require_known
from ..dataset import SPLITS
from ..long_tail.selection import choose_like, pareto_targets, select_head_to_tail
from ..long_tail.statistics import ClassStatistics


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """How images are divided, as the command line describes it."""

    test_share: float = 0.3
    """Share of test images where no test split is given."""
    validation_share: float = 0.15
    """Share of the training images set aside where no validation split is given."""
    seed: int = 0
    """Seed of every draw."""
    long_tail: str | None = None
    """Cut the training set by the paper's construction: max=800,min=1[,power=6]."""

    def __post_init__(self) -> None:
        for name in ("test_share", "validation_share"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} {getattr(self, name)!r} must lie between 0 and 1")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed} must be 0 or more")
        if self.long_tail is not None:
            parse_long_tail(self.long_tail)


def parse_long_tail(text: str) -> dict[str, Any]:
    """Read `max=800,min=1` or `max=800,min=1,power=6` as arguments of `pareto_targets`.

    Other keys, other values and no max raise `InputError`.

    >>> parse_long_tail("max=800,min=2")
    {'largest': 800, 'smallest': 2}
    """
    names = {"max": "largest", "min": "smallest", "power": "power"}
    values: dict[str, Any] = {}
    for part in text.split(","):
        key, _, value = (piece.strip() for piece in part.partition("="))
        require_known("key of --long-tail", key, names)
        try:
            values[names[key]] = float(value) if key == "power" else int(value)
        except ValueError as error:
            raise InputError(f"--long-tail {part!r} must be a number, as in max=800,min=1") from error
    if "largest" not in values:
        raise InputError(f"--long-tail {text!r} needs max, as in max=800,min=1")
    return values


def divide(
    labels: NDArray[np.uint8],  # (N, C) of 0/1
    given: Sequence[str | None],  # the split of each image, or None for all of them
    options: SplitOptions,
    *,
    class_names: Sequence[str] | None = None,  # for messages
    groups: Sequence[str] | None = None,
) -> tuple[dict[str, list[int]], list[str]]:
    """Row numbers of each split, and remarks for the user.

    Validation is set aside from train before the long tail is cut, so that it stays out of all statistics; its label
    distribution follows the test split's as far as half of each class's training images allow. Training images without
    any label are left out: the re-balanced losses divide by a sum over an image's labels.

    Raises `InputError` if a split stays empty or a class has no training image.
    """
    rows = {name: [i for i, split in enumerate(given) if split == name] for name in SPLITS}
    remarks: list[str] = []
    if not any(rows.values()):
        rows["train"] = list(range(len(labels)))
    if not rows["train"]:
        raise InputError("splits are given, but no image is in the split train")
    for name, share, model in (("test", options.test_share, "train"), ("validation", options.validation_share, "test")):
        if not rows[name]:
            rows[name] = _set_aside(name, labels, rows["train"], rows[model], share, options.seed)
            taken = set(rows[name])
            rows["train"] = [i for i in rows["train"] if i not in taken]
            remarks.append(f"{name}: {len(taken)} images set aside from train, seed {options.seed}")
    if bare := [i for i in rows["train"] if not labels[i].any()]:
        rows["train"] = [i for i in rows["train"] if labels[i].any()]
        remarks.append(f"train: {len(bare)} images without any label left out")
    if not rows["train"]:
        raise InputError("no image of the split train has a label")
    ClassStatistics.from_labels(labels[rows["train"]], class_names=class_names)
    if options.long_tail:
        pool, targets = rows["train"], pareto_targets(labels.shape[1], **parse_long_tail(options.long_tail))
        chosen = select_head_to_tail(labels[pool], targets, random.Random(options.seed), order=sorted)
        rows["train"] = [pool[i] for i in chosen]
        remarks.append(f"train: {len(rows['train'])} of {len(pool)} images make the long tail")
    return rows, remarks


def _set_aside(
    name: str, labels: NDArray[np.uint8], pool: list[int], model: list[int], share: float, seed: int
) -> list[int]:
    size = max(1, round(len(pool) * share))
    try:
        chosen = choose_like(labels[pool], labels[model], size, seed=seed, largest_share=0.5)
    except InputError as error:
        cure = "add images (a class of one image gives none), or give the split of each image"
        raise InputError(f"no {name} split can be set aside with --{name}-share {share}: {error}, {cure}") from error
    return [pool[i] for i in chosen]
