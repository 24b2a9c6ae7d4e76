"""Splits on disk: one `.npz` per split, written aside and renamed, read without pickle."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import numpy as np

from .dataset import Split
from .errors import InputError


def write_split(split: Split, path: Path) -> None:
    """Write a split so that other processes see it whole or not at all.

    Raises:
        InputError: if the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as aside:
            np.savez(aside, images=split.images, labels=split.labels, ids=split.ids)
        Path(aside.name).replace(path)
    except OSError as error:
        raise InputError(
            f"cannot write the dataset to {path.parent}: {error.strerror}; "
            "give a writable folder with --data-root or MLTBENCH_DATA"
        ) from error


def read_split(path: Path) -> Split:
    """Read a split that `write_split` wrote.

    Raises:
        InputError: if the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Split(images=arrays["images"], labels=arrays["labels"], ids=arrays["ids"])
    except (OSError, KeyError, EOFError, zipfile.BadZipFile, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); delete it, it will be made again") from error
