"""Files that are there whole or not at all, whatever happens meanwhile: written aside, synced, renamed, synced."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..datasets.errors import InputError

# A full disk, a quota, a limit on the size of files.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DiskFullError(InputError):
    """There is no room for what a run has to write; nothing that it wrote before is lost."""


def write_durably(path: Path, *parts: bytes | memoryview, previous: Path | None = None) -> None:
    """Write a file so that readers and crashes see the old one or the new one, never a part.

    Args:
        path: of the file.
        parts: its content, in order.
        previous: where the old file goes, if it is to be kept.

    Raises:
        OSError: if the disk is full, say; the old file is as it was.
    """
    with open_durably(path, previous=previous) as file:
        file.writelines(parts)


@contextmanager
def open_durably(path: Path, *, previous: Path | None = None) -> Iterator[BinaryIO]:
    """Open a file for writing; it takes its place at the end of the block, as `write_durably` says, or not at all."""
    aside = path.with_name(f".{path.name}.new")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if previous is not None and path.exists():
        path.replace(previous)
    aside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; Windows knows no such thing."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error is one for want of room."""
    return isinstance(error, DiskFullError) or (isinstance(error, OSError) and error.errno in FULL)


@contextmanager
def disk_full_told(folder: Path) -> Iterator[None]:
    """Within, an error for want of room becomes a `DiskFullError` that says what to do."""
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise DiskFullError(
            f"no room left to write to {folder} ({error.strerror}); what was trained up to the last "
            "checkpoint is kept: free some space, then the same command goes on from there"
        ) from error
