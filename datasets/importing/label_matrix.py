"""Label matrices in `.npz` files, which need no images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..long_tail.statistics import as_label_matrix
from ..prepared.array_files import DAMAGE

# Of the arrays' names; the first that is there counts.
PREFIXES = ("", "train_")


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelMatrix:
    """Labels `(N, C)` uint8 of 0/1 (255 is unknown) with N unique image ids, in the file's order."""

    ids: tuple[str, ...]
    labels: NDArray[np.uint8]
    classes: tuple[str, ...]  # C names; numbers where the file has none


def read_label_matrix(path: Path, *, prefixes: Sequence[str] = PREFIXES) -> LabelMatrix:
    """Read an `.npz` with `ids` (N,), `labels` (N, C) and perhaps `classes` (C,).

    `ids` and `labels` may have a prefix; the first that is there is taken. Raises `InputError` if the file cannot be
    read, an id occurs twice, or a label is not 0 or 1.
    """
    if not path.is_file():
        raise InputError(f"no label file at {path}; give an .npz with ids and labels")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            prefix = next((prefix for prefix in prefixes if f"{prefix}labels" in arrays.files), prefixes[0])
            labels = as_label_matrix(arrays[f"{prefix}labels"])
            names = arrays["classes"].tolist() if "classes" in arrays.files else range(labels.shape[1])
            ids = tuple(str(name) for name in arrays[f"{prefix}ids"].tolist())
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except DAMAGE as error:
        wanted = " or ".join(f"`{prefix}ids` (N,) and `{prefix}labels` (N, C)" for prefix in prefixes)
        raise InputError(f"{path} must be an .npz with the arrays {wanted}: {error}") from error
    classes = tuple(str(name) for name in names)
    if (len(ids), len(classes)) != labels.shape:
        raise InputError(f"{path}: {len(ids)} ids and {len(classes)} classes for labels of shape {labels.shape}")
    if len(set(ids)) < len(ids):
        twice = next(name for i, name in enumerate(ids) if name in ids[:i])
        raise InputError(f"{path}: image {twice!r} is there twice; leave one of its rows out")
    return LabelMatrix(ids=ids, labels=labels, classes=classes)
