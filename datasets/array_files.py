"""Splits on disk: one `.npz` per split, written aside and renamed, read without pickle."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from .dataset import Split
from .errors import InputError

# Everything that NumPy and zipfile raise on a file that was cut or flipped.
DAMAGE = (OSError, KeyError, EOFError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def write_split(split: Split, path: Path) -> None:
    """Write a split so that other processes see it whole or not at all.

    Raises:
        InputError: if the folder cannot be written.
    """
    aside = path.with_name(f".{path.stem}-{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(aside, images=split.images, labels=split.labels, ids=split.ids)
        aside.replace(path)
    except OSError as error:
        if aside.exists():
            aside.unlink()
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
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Split(images=arrays["images"], labels=arrays["labels"], ids=arrays["ids"])
    except DAMAGE as error:
        raise InputError(f"{path} is damaged ({error}); delete it, it will be made again") from error
