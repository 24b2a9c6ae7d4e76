"""Files: written whole or not at all, durably; locks between processes; names that are safe as parts of paths.

A file is written aside, synced and renamed, and its folder synced: readers and crashes see the old or the new one.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from .errors import InputError

# A full disk, a quota, a limit on the size of files.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
LONGEST = 100
# No file system and no shell minds these; `=` is not among them, so that no name looks like a changed one.
_OTHERS = re.compile(r"[^A-Za-z0-9._+@-]")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
# So long another process may take before the user hears of it.
PATIENCE_SECONDS = 0.5

logger = logging.getLogger("mltbench")


class DiskFullError(InputError):
    """There is no room for what a run has to write; nothing that it wrote before is lost."""


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces `path` at the end of the block, or not at all if an error leaves it.

    Readers see the old file or the new one, never a part; its folder is made. Not synced: after a power cut the file
    may be empty, which is good enough for what can be made again. Several processes may write the same file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with aside.open("w+b") as file:
            yield file
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    aside.replace(path)


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


def safe_file_name(name: str) -> str:
    """A name as one part of a path, on any system: itself where it is safe, else what is safe of it and a digest.

    Separators, `..`, control characters, leading and trailing dots, leading hyphens, Windows' own names and more than
    100 characters are not safe. Different names get different file names; upper and lower case count as different.

    >>> safe_file_name("digits-mlt")
    'digits-mlt'
    >>> safe_file_name("../voc mlt")
    'voc-mlt=dadd0c6d'
    """
    kept = _OTHERS.sub("-", name[:LONGEST]).strip(".-")
    if kept == name and kept and not _RESERVED.fullmatch(kept):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{kept.replace('.', '-')[: LONGEST - 9] or 'unnamed'}={digest}"
