"""Label matrices on disk: `.npz`, or CSV in either of two shapes."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..long_tail.label_matrix import as_label_matrix
from ..prepared.array_files import DAMAGE

logger = logging.getLogger("mltbench")


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelFile:
    """Labels of named images.

    Attributes:
        ids: N unique image ids, in the file's order.
        labels: `(N, C)` uint8 of 0/1.
        classes: C class names; numbers where the file has none.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.uint8]
    classes: tuple[str, ...]


def read_label_file(path: Path, *, separator: str = "|", prefixes: Sequence[str] = ("", "train_")) -> LabelFile:
    """Read a label matrix.

    Args:
        path: `.npz` with `ids` (N,), `labels` (N, C) and perhaps `classes` (C,); or a CSV whose first column is the
            image, with either one column `labels` of names joined by the separator, or a column of 0/1 per class.
        separator: between the names of one image.
        prefixes: of the names of ids and labels in an `.npz`, the first that is there is taken; `train_` names those of
            a dataset's training split.

    Raises:
        InputError: if the file cannot be read, an id is there twice, or a label is not 0 or 1.
    """
    if not path.is_file():
        raise InputError(f"no label file at {path}; give an .npz with ids and labels, or a CSV")
    found = _read_npz(path, prefixes) if path.suffix == ".npz" else _read_csv(path, separator)
    if len(found.ids) != len(found.labels) or len(found.classes) != found.labels.shape[1]:
        raise InputError(
            f"{path}: {len(found.ids)} ids and {len(found.classes)} classes for labels of shape {found.labels.shape}"
        )
    seen: set[str] = set()
    for name in found.ids:
        if name in seen:
            raise InputError(f"{path}: image {name!r} is there twice; leave one of its rows out")
        seen.add(name)
    return found


def warn_of_separator(path: Path, cells: Sequence[Sequence[str]], separator: str) -> None:
    """Say so where names look like several joined by something else: none is split, and some hold such a sign."""
    if any(len(names) > 1 for names in cells):
        return
    other = next((sign for sign in "|;,/" for names in cells for name in names if sign in name), None)
    if other is not None:
        logger.warning(
            "%s: no image has more than one class, and names hold %r; is %r what stands between names? "
            "--separator gives another",
            path, other, separator,
        )  # fmt: skip


def _read_npz(path: Path, prefixes: Sequence[str]) -> LabelFile:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            prefix = next((prefix for prefix in prefixes if f"{prefix}labels" in arrays.files), "")
            labels = as_label_matrix(arrays[f"{prefix}labels"])
            names = arrays["classes"].tolist() if "classes" in arrays.files else range(labels.shape[1])
            ids = tuple(str(name) for name in arrays[f"{prefix}ids"].tolist())
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(f"{path} must hold the arrays `ids` (N,) and `labels` (N, C): {error}") from error
    return LabelFile(ids=ids, labels=labels, classes=tuple(str(name) for name in names))


def _read_csv(path: Path, separator: str) -> LabelFile:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV in UTF-8: {error}; save it as UTF-8") from error
    if len(rows) < 2 or len(rows[0]) < 2:
        raise InputError(f"{path} needs a header of at least two columns, the image first, and a row per image")
    header, body = rows[0], rows[1:]
    for number, row in enumerate(body, start=2):
        if len(row) != len(header):
            raise InputError(f"{path}, row {number}: {len(row)} cells, the header has {len(header)}")
    ids = tuple(row[0] for row in body)
    if "labels" in header:
        column = header.index("labels")
        names = [[name.strip() for name in row[column].split(separator) if name.strip()] for row in body]
        classes = tuple(sorted({name for row in names for name in row}))
        warn_of_separator(path, names, separator)
        position = {name: i for i, name in enumerate(classes)}
        labels = np.zeros((len(body), len(classes)), dtype=np.uint8)
        for labels_row, row in zip(labels, names, strict=True):
            labels_row[[position[name] for name in row]] = 1
        return LabelFile(ids=ids, labels=as_label_matrix(labels), classes=classes)
    return LabelFile(ids=ids, labels=_cells(path, body), classes=tuple(header[1:]))


def _cells(path: Path, body: list[list[str]]) -> NDArray[np.uint8]:
    for number, row in enumerate(body, start=2):
        for cell in row[1:]:
            if cell.strip() not in ("0", "1"):
                raise InputError(
                    f"{path}, row {number}: {cell!r} is not 0 or 1; name the column `labels` if it holds class names"
                )
    return as_label_matrix([[int(cell) for cell in row[1:]] for row in body])
