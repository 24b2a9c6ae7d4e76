"""Labels in tables: a CSV for `data import`, and label matrices, `.npz` or CSV, that need no images.

A CSV has one row per image, with its class names joined in one column or a column of 0/1 per class. Python's own `csv`
reads it: pandas fills rows that are too short, and takes the first column of rows that are all too long for an index,
where a user should rather learn which row is wrong.
"""

import csv
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, require_known, some_of
from ..long_tail.statistics import as_label_matrix
from ..prepared.array_files import DAMAGE
from .annotations import AnnotatedImage, Annotations, split_name

logger = logging.getLogger("mltbench")


@dataclass(frozen=True, kw_only=True)
class CsvOptions:
    """How a CSV is laid out, as the command line describes it; None for the first column, or for no splits."""

    delimiter: str = ","
    """Between the cells of a CSV."""
    separator: str = "|"
    """Between the class names of one cell of a CSV."""
    image_column: str | None = "image"
    """CSV column of the image files."""
    labels_column: str = "labels"
    """CSV column of the class names; without it each further column is a class of 0/1."""
    split_column: str | None = "split"
    """CSV column of the splits, if there is one."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelFile:
    """Labels `(N, C)` uint8 of 0/1 with N unique image ids, in the file's order."""

    ids: tuple[str, ...]
    labels: NDArray[np.uint8]
    classes: tuple[str, ...]  # C names; numbers where the file has none


def read_csv(path: Path, options: CsvOptions) -> Annotations:
    """Read a CSV in UTF-8 with a header; raises `InputError` if it cannot be read; row and cell are named."""
    header, body = _rows(path, options)
    image_column = header[0] if options.image_column is None else options.image_column
    require_known(f"--image-column in {path}:", image_column, header)
    position = {name: i for i, name in enumerate(header)}
    image, split = position[image_column], position.get(options.split_column or "")
    if options.labels_column in header:
        column = position[options.labels_column]
        cells = [[name.strip() for name in row[column].split(options.separator) if name.strip()] for row in body]
        classes = sorted({name for row in cells for name in row})
        _warn_of_separator(path, cells, options.separator)
    else:
        columns = [i for i in range(len(header)) if i not in (image, split)]
        classes = [header[i] for i in columns]
        cells = [_flags(path, number, row, columns, header) for number, row in enumerate(body, start=2)]
    images = []
    for number, (row, names) in enumerate(zip(body, cells, strict=True), start=2):
        given = None if split is None or not row[split].strip() else split_name(row[split], f"{path}, row {number}")
        images.append(AnnotatedImage(file=row[image].strip(), classes=frozenset(names), split=given))
    return Annotations(images=tuple(images), classes=tuple(classes))


def read_label_file(path: Path, *, separator: str = "|", prefixes: Sequence[str] = ("", "train_")) -> LabelFile:
    """Read a label matrix from an `.npz` with `ids` (N,), `labels` (N, C) and perhaps `classes` (C,), or from a CSV.

    The first column of the CSV is the image; one column `labels` has names joined by the separator, or each further
    column is a class of 0/1. In an `.npz`, `ids` and `labels` may have a prefix; the first that is there is taken.

    Raises `InputError` if the file cannot be read, an id occurs twice, or a label is not 0 or 1.
    """
    if not path.is_file():
        raise InputError(f"no label file at {path}; give an .npz with ids and labels, or a CSV")
    if path.suffix == ".npz":
        found = _read_npz(path, prefixes)
    else:
        table = read_csv(path, CsvOptions(separator=separator, image_column=None, split_column=None))
        ids = tuple(image.file for image in table.images)
        found = LabelFile(ids=ids, labels=as_label_matrix(table.labels()), classes=table.classes)
    sizes = len(found.ids), len(found.classes)
    if sizes != found.labels.shape:
        raise InputError(f"{path}: {sizes[0]} ids and {sizes[1]} classes for labels of shape {found.labels.shape}")
    if twice := [name for name, times in Counter(found.ids).items() if times > 1]:
        raise InputError(f"{path}: image {twice[0]!r} is there twice; leave one of its rows out")
    return found


def _rows(path: Path, options: CsvOptions) -> tuple[list[str], list[list[str]]]:
    if len(options.delimiter) != 1 or not options.separator:
        raise InputError(f"--delimiter {options.delimiter!r} must be one character, --separator not empty")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file, delimiter=options.delimiter) if row]
    except (UnicodeDecodeError, csv.Error, ValueError, TypeError) as error:
        raise InputError(f"{path} is no CSV in UTF-8: {error}; save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if not rows or len(rows[0]) < 2:
        cure = f"Is {options.delimiter!r} what separates its cells? --delimiter gives another"
        raise InputError(f"{path} needs a header of at least two columns; its first row is {rows[:1]}. {cure}")
    if len(rows) < 2:
        raise InputError(f"{path} has a header and nothing below it; give a row per image")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) != len(header):
        twice = dict.fromkeys(name for name in header if header.count(name) > 1)
        raise InputError(f"{path}: the header names a column twice: {some_of(twice)}")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise InputError(f"{path}, row {number}: {len(row)} cells, the header has {len(header)}")
    return header, rows[1:]


def _flags(path: Path, number: int, row: list[str], columns: list[int], header: list[str]) -> list[str]:
    cure = "a column of class names is called `labels`, or what --labels-column says"
    for i in columns:
        if row[i].strip() not in ("0", "1"):
            raise InputError(f"{path}, row {number}, column {header[i]!r}: {row[i]!r} is not 0 or 1; {cure}")
    return [header[i] for i in columns if row[i].strip() == "1"]


def _warn_of_separator(path: Path, cells: Sequence[Sequence[str]], separator: str) -> None:
    """Warn where no cell was split, and names look as if they were joined by something else."""
    if any(len(names) > 1 for names in cells):
        return
    other = next((sign for sign in "|;,/" for names in cells for name in names if sign in name), None)
    if other is not None:
        seen = "%s: no image has more than one class, and names hold %r"
        logger.warning(f"{seen}; is %r what separates names? --separator gives another", path, other, separator)


def _read_npz(path: Path, prefixes: Sequence[str]) -> LabelFile:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            prefix = next((prefix for prefix in prefixes if f"{prefix}labels" in arrays.files), prefixes[0])
            labels = as_label_matrix(arrays[f"{prefix}labels"])
            names = arrays["classes"].tolist() if "classes" in arrays.files else range(labels.shape[1])
            ids = tuple(str(name) for name in arrays[f"{prefix}ids"].tolist())
    except InputError:
        raise
    except DAMAGE as error:
        names = " or ".join(f"`{prefix}ids` (N,) and `{prefix}labels` (N, C)" for prefix in prefixes)
        raise InputError(f"{path} must be an .npz with the arrays {names}: {error}") from error
    return LabelFile(ids=ids, labels=labels, classes=tuple(str(name) for name in names))
