"""Decoded images as one memory-mapped `.npy` per split: built once, found again, checked by digest.

A cache `train.npy` is written aside and renamed when it is whole; then `train.npy.json` records its digest, size and
modification time, and what became of each image. A file without that record, or with another one, is no cache.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ...errors import InputError
from ...files import locked, open_durably, replacing, write_durably, writing
from ...processes import map_in_processes
from .decode import DECODER_VERSION, BadImageError, decode_image

# Images that are read, decoded and written together.
CHUNK = 32
# A header of this length lets the pixels start on a memory page.
HEADER_BYTES = 4096
CURE = "delete it and prepare or import the dataset again"
# Called with how many more images are done, and how many there are.
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """An image to be decoded; `shape` is the width and height that its annotation promises, if it does."""

    id: str
    path: str
    shape: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class ImageReport:
    """What became of one image."""

    id: str
    path: str
    file_digest: str = ""  # SHA-256; empty when the file could not be read
    note: str = ""  # what had to be converted; empty for ordinary images
    problem: str = ""  # why it cannot be used; empty when it can


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A finished cache: one row of pixels for each image without a problem, a report for each that was asked for."""

    path: Path
    digest: str  # SHA-256 of the pixels
    images: tuple[ImageReport, ...]


class BadImagesError(InputError):
    """Some images cannot be used; `images` holds the reports on all of them."""

    def __init__(self, images: Sequence[ImageReport]) -> None:
        self.images = tuple(images)
        bad = [image for image in images if image.problem]
        super().__init__(f"{len(bad)} of {len(images)} images cannot be used, such as {bad[0].path}: {bad[0].problem}")


def build_cache(
    files: Sequence[ImageFile],  # in the order of the cache
    path: Path,  # of the `.npy`
    size: int,  # side of the images in pixels
    *,
    workers: int = 1,  # processes that decode
    leave_out: bool = False,  # leave out images that cannot be used instead of raising
    on_progress: OnProgress = lambda more, total: None,
) -> Cache:
    """Decode the files into a cache, unless it is there already; one process builds it, others wait for it.

    Raises `BadImagesError` after all images were tried, if some cannot be used, and another `InputError` if the disk is
    full or the folder cannot be written.
    """
    try:
        needed = f"the image cache {path}, which needs {len(files) * size**2 * 3:,} bytes"
        with writing(needed), locked(Path(f"{path}.lock"), f"decoding into {path}"):
            key = _key(files, size)
            with contextlib.suppress(InputError):  # one that was damaged is built again
                found = find_cache(path) if read_record(path).get("key") == key else None
                if found and (leave_out or not any(image.problem for image in found.images)):
                    on_progress(len(files), len(files))
                    return found
            # Earlier versions left `.part` and `.journal` when they were killed.
            for stale in (path, *(_beside(path, ending) for ending in ("json", "part", "journal"))):
                stale.unlink(missing_ok=True)
            with open_durably(path) as file:
                digest, images = _decode(files, file, size, workers, leave_out, on_progress)
            record = {"key": key, "digest": digest, "stamp": _stamp(path)}
            write_durably(_beside(path, "json"), _json(record | {"images": [asdict(image) for image in images]}))
            return Cache(path=path, digest=digest, images=tuple(images))
    except BrokenProcessPool:
        raise InputError(
            f"a process that decodes into {path} was killed (for want of memory?) or could not start; a script of "
            'yours that uses processes needs `if __name__ == "__main__":`. Give the same command again; --workers 1 '
            "needs the least memory"
        ) from None


def find_cache(path: Path) -> Cache | None:
    """The cache at a path, or None where there is no finished one.

    Its pixels are trusted while the file's size and modification time are the recorded ones, and hashed otherwise;
    `InputError` if they are not the recorded ones then.
    """
    record = read_record(path)
    if not record or not path.is_file():
        return None
    images = tuple(ImageReport(**image) for image in record["images"])
    cache = Cache(path=path, digest=record["digest"], images=images)
    if (stamp := _stamp(path)) != record["stamp"]:
        verify_cache(cache)
        # A folder that is only readable is hashed each time.
        with contextlib.suppress(OSError), replacing(_beside(path, "json")) as file:
            file.write(_json(record | {"stamp": stamp}))
    return cache


def verify_cache(cache: Cache) -> None:
    """Hash the whole cache; raises `InputError` if it does not hold the pixels that were recorded."""
    pixels, digest = open_pixels(cache.path), hashlib.sha256()
    for start in range(0, len(pixels), CHUNK):
        digest.update(np.ascontiguousarray(pixels[start : start + CHUNK]).data)
    if digest.hexdigest() != cache.digest:
        raise InputError(f"{cache.path} was changed or damaged since it was made; {CURE}")


def open_pixels(path: Path) -> NDArray[np.uint8]:
    """Map a cache into memory, read-only: `(N, size, size, 3)` uint8; raises `InputError` if it is no whole `.npy`."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is damaged ({error}); {CURE}") from error


def read_record(path: Path) -> dict[str, Any]:
    """What `NAME.json` says of the cache `NAME`; empty where there is no whole record."""
    try:
        record = json.loads(_beside(path, "json").read_text(encoding="utf-8"))
        return record if {"key", "digest", "stamp", "images"} <= set(record) else {}
    except (OSError, ValueError, TypeError):
        return {}


def decode_chunk(size: int, files: Sequence[ImageFile]) -> tuple[NDArray[np.uint8], list[ImageReport]]:
    """Decode some images; pixels `(n, size, size, 3)` of those that can be used, and a report on each."""
    pixels, reports = [], []
    for file in files:
        try:
            decoded = decode_image(Path(file.path), size, shape=file.shape)
            pixels.append(decoded.pixels)
            became = {"file_digest": decoded.file_digest, "note": decoded.note}
        except BadImageError as error:
            became = {"problem": str(error)}
        reports.append(ImageReport(id=file.id, path=file.path, **became))
    return np.array(pixels, dtype=np.uint8), reports


def _decode(
    files: Sequence[ImageFile], file: BinaryIO, size: int, workers: int, leave_out: bool, on_progress: OnProgress
) -> tuple[str, list[ImageReport]]:
    """Decode all images into an open `.npy`; give the digest of its pixels and the reports."""
    chunks, digest, images = _chunks(files), hashlib.sha256(), list[ImageReport]()
    file.write(_header(len(files), size))
    results = map_in_processes(partial(decode_chunk, size), chunks, min(workers, max(len(chunks), 1)))
    with contextlib.closing(results):
        for pixels, reports in results:
            # Written, not mapped: a full disk is then an error, where a mapped write would kill the process.
            file.write(pixels.data)
            digest.update(pixels.data)
            images += reports
            on_progress(len(reports), len(files))
    good = sum(not image.problem for image in images)
    if good < len(images) and not leave_out:
        raise BadImagesError(images)
    file.seek(0)
    file.write(_header(good, size))
    return digest.hexdigest(), images


def _header(count: int, size: int) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {(count, size, size, 3)}, }}"
    return npy.magic(1, 0) + (HEADER_BYTES - 10).to_bytes(2, "little") + text.ljust(HEADER_BYTES - 11).encode() + b"\n"


def _chunks(files: Sequence[ImageFile]) -> list[Sequence[ImageFile]]:
    return [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]


def _key(files: Sequence[ImageFile], size: int) -> str:
    """SHA-256 over what is asked for: the files with their sizes and times, in order, and how they are decoded."""
    keys = []
    for chunk in _chunks(files):
        digest = hashlib.sha256(f"decoder {DECODER_VERSION}, side {size}\n".encode())
        for file in chunk:
            stamp = None
            with contextlib.suppress(OSError, ValueError):
                stamp = _stamp(Path(file.path))
            digest.update(json.dumps([file.id, file.path, file.shape, stamp]).encode())
        keys.append(digest.hexdigest())
    return hashlib.sha256("".join(keys).encode()).hexdigest()


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}.{ending}")


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record, indent=1).encode()
