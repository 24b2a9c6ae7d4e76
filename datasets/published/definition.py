"""VOC-MLT and COCO-MLT as definitions: from labels to splits, checked by digests, without any image."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..long_tail.label_balance import choose_like
from ..long_tail.label_matrix import as_label_matrix
from ..long_tail.selection import ids_digest, pareto_targets, select_head_to_tail
from ..prepared.dataset_folder import SIDES, SplitLabels

VALIDATION_SEED = 0


@dataclass(frozen=True, kw_only=True)
class PublishedSet:
    """A long-tailed set whose image list was published.

    Attributes:
        name: public name.
        classes: C names, in column order.
        largest: wanted size of the largest class in the construction.
        generator: makes the generator that the construction drew from.
        list_digest: SHA-256 of the sorted training ids joined by newlines.
        validation: images that are set aside from what the construction left over.
        digests: of the splits, as far as they are known.
        list_path: of the published list, below the address of the lists.
        list_file_digest: SHA-256 of that file.
    """

    name: str
    classes: tuple[str, ...]
    largest: int
    generator: Callable[[], random.Random]
    list_digest: str
    validation: int
    digests: Mapping[str, str]
    list_path: str
    list_file_digest: str


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelSource:
    """Labels that a published set is made from.

    Attributes:
        train_ids: images that the construction chooses from, in its order; or the chosen ones alone.
        train_labels: `(N, C)`.
        test_ids: of the test images.
        test_labels: `(M, C)`.
        whole: whether the training side has all images that the construction chooses from.
    """

    train_ids: Sequence[str]
    train_labels: NDArray[np.uint8]
    test_ids: Sequence[str]
    test_labels: NDArray[np.uint8]
    whole: bool


def define_splits(
    published: PublishedSet, source: LabelSource, listed: Sequence[str] | None = None
) -> tuple[dict[str, SplitLabels], list[str]]:
    """Training, validation and test split of a published set, and remarks for the user.

    The published list is the defining source; without it, the rebuilt one counts if it has the published digest.
    Without the labels of all training images there is no validation split.

    Args:
        published: the set.
        source: labels.
        listed: the published list, or None where it could not be had.

    Raises:
        InputError: if neither the list nor the rebuilding gives the published images.
    """
    chosen, remarks = _training_ids(published, source, listed)
    position = {name: i for i, name in enumerate(source.train_ids)}
    absent = [name for name in chosen if name not in position]
    if absent:
        raise InputError(f"{published.name}: the labels lack {len(absent)} of its images, such as {absent[0]!r}")
    splits = {"train": _rows(source.train_ids, source.train_labels, [position[name] for name in chosen])}
    if source.whole:
        taken = set(chosen)
        pool = [i for i, name in enumerate(source.train_ids) if name not in taken]
        rows = choose_like(source.train_labels[pool], source.test_labels, published.validation, seed=VALIDATION_SEED)
        splits["validation"] = _rows(source.train_ids, source.train_labels, [pool[i] for i in rows])
    else:
        remarks.append("no validation split: it needs the labels of all training images")
    splits["test"] = _rows(source.test_ids, source.test_labels, range(len(source.test_ids)))
    for name, split in splits.items():
        found, wanted = split.digest(SIDES[name]), published.digests.get(name)
        if wanted is not None and found != wanted:
            raise InputError(
                f"{published.name}: the {name} labels have digest {found}, expected {wanted}; "
                "the annotations are not those of the official release"
            )
    return splits, remarks


def labels_of_file(published: PublishedSet, arrays: Mapping[str, NDArray[Any]]) -> LabelSource:
    """Labels from arrays `train_ids`, `train_labels`, `test_ids`, `test_labels`, and `trainval2012_...` if there.

    Raises:
        InputError: if one is missing, or classes or shapes are others.
    """
    whole = "trainval2012_ids" in arrays
    train = "trainval2012" if whole else "train"
    needed = ["classes", f"{train}_ids", f"{train}_labels", "test_ids", "test_labels"]
    lacking = [name for name in needed if name not in arrays]
    if lacking:
        raise InputError(f"{published.name} needs the arrays {', '.join(needed)}; missing: {', '.join(lacking)}")
    if tuple(map(str, arrays["classes"].tolist())) != published.classes:
        raise InputError(f"{published.name} has the classes {', '.join(published.classes)}, in this order")
    source = LabelSource(
        train_ids=tuple(map(str, arrays[f"{train}_ids"].tolist())),
        train_labels=as_label_matrix(arrays[f"{train}_labels"]),
        test_ids=tuple(map(str, arrays["test_ids"].tolist())),
        test_labels=as_label_matrix(arrays["test_labels"]),
        whole=whole,
    )
    for ids, labels in ((source.train_ids, source.train_labels), (source.test_ids, source.test_labels)):
        if labels.shape != (len(ids), len(published.classes)):
            raise InputError(f"{published.name}: {len(ids)} ids for labels of shape {labels.shape}")
    return source


def rebuild(published: PublishedSet, source: LabelSource) -> list[str]:
    """The training ids by the published construction; on CPython 3.11 they come in the published order."""
    targets = pareto_targets(len(published.classes), largest=published.largest)
    rows = select_head_to_tail(source.train_labels, targets, published.generator())
    return [source.train_ids[i] for i in rows]


def _training_ids(
    published: PublishedSet, source: LabelSource, listed: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    rebuilt = rebuild(published, source) if source.whole else list(source.train_ids)
    agrees = ids_digest(rebuilt) == published.list_digest
    if listed is not None:
        if ids_digest(listed) != published.list_digest:
            raise InputError(f"{published.name}: the list of images does not have digest {published.list_digest[:12]}")
        differing = len(set(rebuilt) ^ set(listed))
        how = "the rebuilt list is the published one" if agrees else f"the rebuilt list differs in {differing} images"
        return list(listed), [f"{published.name}: {how}; the published list is taken"]
    if not agrees:
        raise InputError(
            f"{published.name}: the images chosen here have digest {ids_digest(rebuilt)[:12]}, the published ones "
            f"{published.list_digest[:12]}, and the published list could not be had; give it with --list FILE "
            f"({published.list_path} of the authors' repository)"
        )
    return rebuilt, [f"{published.name}: the images have the published digest {published.list_digest[:12]}"]


def _rows(ids: Sequence[str], labels: NDArray[np.uint8], rows: Sequence[int]) -> SplitLabels:
    # In order of their ids, so that the split is the same whoever made the list.
    rows = sorted(rows, key=lambda i: ids[i])
    return SplitLabels(ids=np.array([ids[i] for i in rows]), labels=labels[rows])
