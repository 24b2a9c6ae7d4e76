"""Per-image scores in a file: matched with a test split by image and class, and ranked in the type that they have."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...benchmark.training.metrics import average_precision
from ...datasets.dataset import Dataset
from ...datasets.prepared.array_files import DAMAGE
from ...errors import InputError, some_of

ARRAYS = ("scores", "ids", "classes")
# So many are no accident: of normal logits of 50,000 images, .2 % tie in float32.
MANY_TIES = 0.05


@dataclass(frozen=True, kw_only=True)
class Rescored:
    """Average precision by class in percent, None without positives, and what the author of the scores should know."""

    ap: dict[str, float | None]
    remarks: tuple[str, ...] = ()


def rescore(path: Path, dataset: Dataset) -> Rescored:
    """Average precision from per-image scores on the test split, in any order of images and classes.

    The file holds `scores` (N, C), logits or probabilities, `ids` (N,) and `classes` (C,), as `test_scores.npz` of a
    run does. Nothing is rounded: float64 stays float64.

    Raises:
        InputError: if it does not, if images or classes are missing, surplus or there twice, or if a score is not
            finite.
    """
    scores, ids, classes = _read(path)
    test = dataset.split("test")
    wanted = [_name(one) for one in test.ids.tolist()], [_name(one) for one in dataset.classes]
    remarks = []
    rows = _places(path, "image", ids, wanted[0], dataset)
    columns = _places(path, "class", classes, wanted[1], dataset)
    for kind, places in (("images are matched by id", rows), ("classes are matched by name", columns)):
        if places != sorted(places):
            remarks.append(f"{kind}; their order is not that of the dataset")
    scores = scores[np.ix_(rows, columns)]
    if not (finite := np.isfinite(scores)).all():
        row, column = np.argwhere(~finite)[0].tolist()
        number = int((~finite).sum())
        raise InputError(
            f"{path}: the score of image {wanted[0][row]!r}, class {wanted[1][column]!r}, is {scores[row, column]}"
            f"{f', and {number - 1:,} more are not finite' if number > 1 else ''}; give finite scores, in float64 "
            "where they are large"
        )
    if (share := _tied(scores)) >= MANY_TIES:
        remarks.append(
            f"{share:.0%} of the scores ({scores.dtype}) equal another image's of their class, and ties have no order; "
            "give logits, or probabilities in float64"
        )
    values = 100 * average_precision(scores, test.labels)
    ap = {name: None if np.isnan(value) else float(value) for name, value in zip(dataset.classes, values, strict=True)}
    return Rescored(ap=ap, remarks=tuple(remarks))


def _read(path: Path) -> tuple[NDArray[Any], list[str], list[str]]:
    needs = "the arrays scores (N, C), ids (N,) and classes (C,)"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if missing := [name for name in ARRAYS if name not in arrays.files]:
                there = some_of(arrays.files) or "nothing"
                raise InputError(f"{path} must hold {needs}; it has no {' and no '.join(missing)}, but {there}")
            scores, ids, classes = (arrays[name] for name in ARRAYS)
    except InputError:
        raise
    except (*DAMAGE, AttributeError, TypeError) as error:
        cure = "; names are arrays of strings: np.array(names, dtype=str)" if "allow_pickle" in str(error) else ""
        raise InputError(f"{path} must hold {needs}: {error}{cure}") from error
    if scores.dtype.kind not in "fiub":
        raise InputError(f"{path}: scores are {scores.dtype}, and must be numbers; save them as float32 or float64")
    if scores.shape != (len(np.atleast_1d(ids)), len(np.atleast_1d(classes))):
        raise InputError(
            f"{path}: scores are {scores.shape}, and must have one row for each of {ids.size:,} ids and one column for "
            f"each of {classes.size:,} classes"
        )
    return scores, [_name(one) for one in ids.tolist()], [_name(one) for one in classes.tolist()]


def _name(value: object) -> str:
    """A name as it is compared: text, in composed characters."""
    return unicodedata.normalize("NFC", value.decode(errors="replace") if isinstance(value, bytes) else str(value))


def _places(path: Path, kind: str, given: Sequence[str], wanted: Sequence[str], dataset: Dataset) -> list[int]:
    """Where the dataset's names lie among those of a file."""
    place = {name: index for index, name in enumerate(given)}
    missing, surplus = [name for name in wanted if name not in place], sorted(set(given) - set(wanted))
    twice = [name for name, number in Counter(given).items() if number > 1]
    plural = {"image": "images", "class": "classes"}[kind]
    wrong = [
        f"{len(names):,} {plural if len(names) > 1 else kind} {what}: {some_of(map(repr, names))}"
        for what, names in (("missing", missing), ("that it does not have", surplus), ("more than once", twice))
        if names
    ]
    if wrong:
        raise InputError(
            f"{path}: {plural} must be the {len(wanted):,} of the test split of {dataset.name}, each once: "
            f"{'; '.join(wrong)}"
        )
    return [place[name] for name in wanted]


def _tied(scores: NDArray[Any]) -> float:
    """The share of cells that have the score of another image in their class."""
    ascending = np.sort(scores, axis=0)
    equal = ascending[1:] == ascending[:-1]
    none = np.zeros((1, scores.shape[1]), dtype=bool)
    return float((np.concatenate([none, equal]) | np.concatenate([equal, none])).mean())
