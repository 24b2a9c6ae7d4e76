"""One process at a time makes a dataset; others wait for it, and then find it made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import InputError
from ...files import alone


@contextmanager
def making_dataset(name: str, data_root: Path) -> Iterator[None]:
    """Be the only process that makes a dataset.

    Raises:
        InputError: if the data root cannot be written, or the disk gets full.
    """
    try:
        with alone(data_root / f".{name}.lock", f"making the dataset {name!r}"):
            yield
    except OSError as error:
        raise InputError(
            f"cannot write the dataset {name!r} under {data_root}: {error.strerror or error}; free some space or give "
            "another folder with --data-root (MLTBENCH_DATA), then give the same command again"
        ) from error
