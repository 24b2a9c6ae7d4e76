"""Decoded images as one memory-mapped `.npy` per split: what a cache is, how it is found and checked.

A cache `train.npy` is written aside as `train.npy.part`, with a journal `train.npy.journal` of finished chunks and
their SHA-256; a pass that was killed goes on from there. When every chunk is in, the file is synced and renamed, and
`train.npy.json` says what it is: digest, size, modification time, what was noted of its images. A file without that
record, or with another one, is never taken for a cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError

# Images that are read, decoded and written together.
CHUNK = 32


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """An image to be decoded.

    Attributes:
        id: how the dataset calls it.
        path: where it lies.
        shape: width and height that its annotation promises, or None.
    """

    id: str
    path: str
    shape: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class ImageReport:
    """What became of one image.

    Attributes:
        id: how the dataset calls it.
        path: where it lies.
        file_digest: SHA-256 of the file; empty when it could not be read.
        note: what had to be converted; empty for ordinary images.
        problem: why it cannot be used; empty when it can.
    """

    id: str
    path: str
    file_digest: str = ""
    note: str = ""
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A finished cache.

    Attributes:
        path: the `.npy`, one row for each image that could be decoded.
        digest: SHA-256 of its pixels.
        images: a report for each image that was asked for, in order.
    """

    path: Path
    digest: str
    images: tuple[ImageReport, ...]


class BadImagesError(InputError):
    """Some images cannot be used; nothing that was decoded is lost."""

    def __init__(self, images: Sequence[ImageReport]) -> None:
        self.images = tuple(images)
        bad = [image for image in images if image.problem]
        super().__init__(f"{len(bad)} of {len(images)} images cannot be used, such as {bad[0].path}: {bad[0].problem}")


def find_cache(path: Path) -> Cache | None:
    """The cache at a path, or None where there is no finished one.

    Its pixels are trusted while the file's size and modification time are the recorded ones, and hashed otherwise.

    Raises:
        InputError: if the pixels are not the recorded ones.
    """
    record = read_record(path)
    if not record or not path.is_file():
        return None
    images = tuple(ImageReport(**image) for image in record["images"])
    cache = Cache(path=path, digest=record["digest"], images=images)
    stamp = stamp_of(path)
    if stamp != record["stamp"]:
        verify_cache(cache)
        with contextlib.suppress(OSError):  # a folder that is only readable is hashed each time
            write_json(beside(path, "json"), record | {"stamp": stamp})
    return cache


def verify_cache(cache: Cache) -> None:
    """Hash the whole cache.

    Raises:
        InputError: if it does not hold the pixels that were recorded.
    """
    if pixels_digest(open_pixels(cache.path)) != cache.digest:
        raise InputError(
            f"{cache.path} was changed or damaged since it was made; delete it and prepare or import the dataset again"
        )


def open_pixels(path: Path) -> NDArray[np.uint8]:
    """Map a cache into memory, read-only: `(N, size, size, 3)` uint8.

    Raises:
        InputError: if it is no whole `.npy`.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is damaged ({error}); delete it and prepare or import the dataset again") from error


def pixels_digest(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 of pixels `(N, H, W, 3)`, read in parts."""
    digest = hashlib.sha256()
    for start in range(0, len(pixels), CHUNK):
        digest.update(np.ascontiguousarray(pixels[start : start + CHUNK]).data)
    return digest.hexdigest()


def read_record(path: Path) -> dict[str, Any]:
    """What `NAME.json` says of the cache `NAME`; empty where there is no whole record."""
    try:
        record = json.loads(beside(path, "json").read_text(encoding="utf-8"))
        return record if {"key", "digest", "stamp", "images"} <= set(record) else {}
    except (OSError, ValueError, TypeError):
        return {}


def stamp_of(path: Path) -> list[int]:
    """Size and modification time of a file."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that it is there whole or not at all."""
    aside = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def beside(path: Path, ending: str) -> Path:
    """The file of another kind that belongs to a cache."""
    return path.with_name(f"{path.name}.{ending}")
