"""Which importer reads which labels."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from .annotations import Annotations, checked
from .csv_labels import CsvOptions, read_csv


def read_annotations(labels: Path, columns: CsvOptions) -> Annotations:
    """Read labels.

    Args:
        labels: a CSV.
        columns: how a CSV is laid out.

    Raises:
        InputError: if there is no such file, or its content cannot be used.
    """
    if not labels.exists():
        raise InputError(f"no labels at {labels}; give a CSV")
    return checked(read_csv(labels, columns), labels)
