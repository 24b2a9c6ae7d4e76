"""One process at a time makes a thing; others wait for it, and then find it made."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import InputError

# So long another process may take before the user hears of it.
PATIENCE_SECONDS = 0.5

logger = logging.getLogger("mltbench")


@contextmanager
def alone(lock: Path, what: str) -> Iterator[None]:
    """Hold a lock; while another process has it, say so once and wait. The lock of a killed process is free.

    Args:
        lock: file to lock; its folder is made.
        what: whoever holds the lock is doing, such as `downloading https://example.org/x.tar`.

    Raises:
        OSError: if the lock cannot be made.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=PATIENCE_SECONDS)
    except Timeout:
        logger.warning("another process is %s; waiting until it has finished (Ctrl-C ends the waiting)", what)
        held.acquire()
    try:
        yield
    finally:
        held.release()


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
