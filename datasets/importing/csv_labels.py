"""Labels from a CSV: one row per image, its class names joined in one column, or a column of 0/1 per class."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError, unknown_name
from .annotations import AnnotatedImage, Annotations, split_name
from .label_files import warn_of_separator


@dataclass(frozen=True, kw_only=True)
class CsvOptions:
    """How a CSV is laid out.

    Attributes:
        delimiter: between cells.
        separator: between the class names of one cell.
        image_column: header of the image names.
        labels_column: header of the class names; where there is none, each further column is a class of 0/1.
        split_column: header of the splits, which may be absent.
    """

    delimiter: str = ","
    separator: str = "|"
    image_column: str = "image"
    labels_column: str = "labels"
    split_column: str = "split"


def read_csv(path: Path, options: CsvOptions) -> Annotations:
    """Read a CSV in UTF-8 with a header.

    Raises:
        InputError: if it cannot be read; row and cell are named.
    """
    header, body = _rows(path, options)
    if options.image_column not in header:
        raise unknown_name(f"--image-column in {path}:", options.image_column, header)
    position = {name: i for i, name in enumerate(header)}
    image, split = position[options.image_column], position.get(options.split_column)
    if options.labels_column in header:
        column = position[options.labels_column]
        cells = [[name.strip() for name in row[column].split(options.separator) if name.strip()] for row in body]
        classes = sorted({name for row in cells for name in row})
        warn_of_separator(path, cells, options.separator)
    else:
        columns = [i for i in range(len(header)) if i not in (image, split)]
        classes = [header[i] for i in columns]
        cells = [_flags(path, number, row, columns, header) for number, row in enumerate(body, start=2)]
    images = tuple(
        AnnotatedImage(
            file=row[image].strip(),
            classes=frozenset(names),
            split=None if split is None or not row[split].strip() else split_name(row[split], f"{path}, row {number}"),
        )
        for number, (row, names) in enumerate(zip(body, cells, strict=True), start=2)
    )
    return Annotations(images=images, classes=tuple(classes))


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
        raise InputError(
            f"{path} needs a header of at least two columns; its first row is {rows[:1]}. "
            f"Is {options.delimiter!r} what stands between its cells? --delimiter gives another"
        )
    if len(rows) < 2:
        raise InputError(f"{path} has a header and nothing below it; give a row per image")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) != len(header):
        raise InputError(f"{path}: the header names a column twice: {', '.join(header)}")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise InputError(f"{path}, row {number}: {len(row)} cells, the header has {len(header)}")
    return header, rows[1:]


def _flags(path: Path, number: int, row: list[str], columns: list[int], header: list[str]) -> list[str]:
    for i in columns:
        if row[i].strip() not in ("0", "1"):
            raise InputError(
                f"{path}, row {number}, column {header[i]!r}: {row[i]!r} is not 0 or 1; a column of class names is "
                "called `labels`, or what --labels-column says"
            )
    return [header[i] for i in columns if row[i].strip() == "1"]
