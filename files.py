"""Files: atomic and durable writes, digests, locks between processes, and names that are safe as parts of paths."""

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
LONGEST_NAME = 100
# No file system and no shell gives these a meaning; `=` marks names that were changed, and is not among them.
_UNSAFE = re.compile(r"[^A-Za-z0-9._+@-]")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
OTHER_DATA_ROOT = (
    "free some space or give another folder with --data-root (MLTBENCH_DATA), then give the same command again: "
    "what is whole is kept"
)
# How long another process may hold a lock before a message says so.
PATIENCE_SECONDS = 0.5

logger = logging.getLogger("mltbench")


class UnwritableError(InputError):
    """A file or a folder cannot be written; the message says why, and what to do about it."""


class DiskFullError(InputError):
    """There is no room for what a run has to write; what it wrote before is kept."""


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces `path` at the end of the block, or not at all if an error leaves it.

    Readers see the old file or the new one, never a part; its folder is made. Not synced: after a power cut the file
    may be empty, which is good enough for what can be made again. Several processes may write the same file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _aside(path, path.with_name(f".{path.name}.{os.getpid()}.new")) as file:
        yield file


@contextmanager
def open_durably(path: Path, *, previous: Path | None = None) -> Iterator[BinaryIO]:
    """Like `replacing`, and synced to disk with its folder, so that a crash leaves the old file or the new one.

    One process writes it at a time, under a lock: what a killed process leaves is then overwritten by the next one.

    Args:
        path: of the file, in a folder that exists.
        previous: where the old file is moved, if it is to be kept.

    Raises:
        OSError: if the disk is full, for example; the old file is as it was.
    """
    with _aside(path, path.with_name(f".{path.name}.new"), durable=True, previous=previous) as file:
        yield file


def write_durably(path: Path, *parts: bytes | memoryview, previous: Path | None = None) -> None:
    """Write the parts of a file in order, as `open_durably` does."""
    with open_durably(path, previous=previous) as file:
        file.writelines(parts)


@contextmanager
def _aside(path: Path, aside: Path, *, durable: bool = False, previous: Path | None = None) -> Iterator[BinaryIO]:
    try:
        with aside.open("w+b") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if previous is not None and path.exists():
            path.replace(previous)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if durable and os.name != "nt":  # Windows cannot make the names in a folder durable
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Digest of a file in hex, read in pieces; MD5 too, with which some publish their files."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that there is no room left."""
    return isinstance(error, DiskFullError) or (isinstance(error, OSError) and error.errno in FULL)


@contextmanager
def reporting_full_disk(folder: Path) -> Iterator[None]:
    """Turn the error of a full disk into a `DiskFullError` that says what to do."""
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise DiskFullError(
            f"no room left to write to {folder} ({error.strerror}); what was trained up to the last "
            "checkpoint is kept: free some space, then the same command resumes from there"
        ) from error


@contextmanager
def writing(what: str, cure: str = OTHER_DATA_ROOT) -> Iterator[None]:
    """Turn an error of the file system into an `UnwritableError`: what cannot be written, why, and the cure."""
    try:
        yield
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UnwritableError(f"cannot write {what}: {reason}; {cure}") from error


@contextmanager
def locked(lock: Path, activity: str) -> Iterator[None]:
    """Hold a lock; while another process has it, say so once and wait. The lock of a killed process is free.

    Args:
        lock: file to lock; its folder is made.
        activity: what the holder of the lock does, such as `downloading https://example.org/x.tar`.

    Raises:
        OSError: if the lock cannot be made.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=PATIENCE_SECONDS)
    except Timeout:
        logger.warning("another process is %s; waiting until it has finished (Ctrl-C stops waiting)", activity)
        held.acquire()
    try:
        yield
    finally:
        held.release()


def as_unicode(text: str) -> str:
    r"""A text as databases take it: bytes of a path or argument that this locale does not know are read as UTF-8.

    >>> as_unicode("f\udcc3\udcbcr")
    'für'
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def safe_file_name(name: str) -> str:
    """A name as one part of a path, on any system: itself where it is safe, else its safe characters and a digest.

    Separators, `..`, control characters, leading and trailing dots, leading hyphens, names that Windows reserves and
    more than 100 characters are not safe. Different names get different file names; case counts.

    >>> safe_file_name("digits-mlt")
    'digits-mlt'
    >>> safe_file_name("../voc mlt")
    'voc-mlt=dadd0c6d'
    """
    kept = _UNSAFE.sub("-", name[:LONGEST_NAME]).strip(".-")
    if kept == name and kept and not _RESERVED.fullmatch(kept):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{kept.replace('.', '-')[: LONGEST_NAME - 9] or 'unnamed'}={digest}"
