"""Decoded images as one memory-mapped `.npy` per split: built once, found again, checked by digest.

A cache `train.npy` is written aside and renamed when it is whole, as is `train.npy.jsonl`, the table of what became of
each image; then `train.npy.json` records their digests, and the size and time of the first. A file without that record,
or with another one, is no cache. Records of earlier versions hold the table; it is moved out when they are found.
"""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ...errors import InputError
from ...files import file_digest, locked, open_durably, replacing, write_durably, writing
from ...processes import map_in_processes
from .bit_depth import UPPER_8_OF_16
from .decode import DECODER_VERSION, BadImageError, decode_image
from .reports import ImageReport, ReportWriter, read_reports, table_of

# Images that are read, decoded and written together.
CHUNK = 32
# A header of this length lets the pixels start on a memory page.
HEADER_BYTES = 4096
CURE = "delete it and prepare or import the dataset again"
# Called with how many more images are done, and how many there are.
OnProgress = Callable[[int, int], None]

logger = logging.getLogger("mltbench")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFile:
    """An image to be decoded; `shape` is the width and height that its annotation promises, if it does."""

    id: str
    path: str
    shape: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A finished cache: one row of pixels for each usable image, a report for each that was asked for."""

    path: Path
    digest: str  # SHA-256 of the pixels
    images: int  # that were asked for
    usable: int
    ids: str  # `ids_digest` of the usable ones
    table: str  # SHA-256 of the table of reports
    depths: Sequence[int]  # bits that images of more than 8 bits per channel use
    bits: int  # the fewest that these were scaled by

    @property
    def scales(self) -> set[int]:
        """The bits that images of more than 8 bits per channel were scaled by."""
        return {max(depth, self.bits) for depth in self.depths}

    def reports(self) -> Iterator[ImageReport]:
        """Read the table; raises `InputError` if it is damaged."""
        return read_reports(self.path, self.table)

    def kept(self) -> tuple[NDArray[np.int64], NDArray[np.str_], NDArray[np.str_]]:
        """Positions among the images that were asked for, ids and file digests of the usable ones."""
        found = [(i, image.id, image.file_digest) for i, image in enumerate(self.reports()) if not image.problem]
        rows, ids, digests = zip(*found, strict=True) if found else ((), (), ())
        return np.array(rows, dtype=np.int64), np.array(ids, dtype=np.str_), np.array(digests, dtype=np.str_)


# Of a record, what a `Cache` is made from.
RECORDED = tuple(field.name for field in fields(Cache) if field.name != "path")


class BadImagesError(InputError):
    """Some images cannot be used; the table of the cache `path` has the reports on all of them."""

    def __init__(self, path: Path) -> None:
        self.path, self.images = path, 0
        self.bad = list[ImageReport]()
        for report in read_reports(path):
            self.images += 1
            self.bad += [report] * bool(report.problem)
        what = f"{len(self.bad)} of {self.images} images cannot be used"
        super().__init__(f"{what}, such as {self.bad[0].path}: {self.bad[0].problem}")


class _UnusableError(Exception):
    """Leaves the pixels unwritten."""


def build_cache(
    files: Sequence[ImageFile],  # in the order of the cache
    path: Path,  # of the `.npy`
    size: int,  # side of the images in pixels
    *,
    workers: int = 1,  # processes that decode
    leave_out: bool = False,  # leave out images that cannot be used instead of raising
    bits: int | None = None,  # that 16 bits are scaled by at least; None takes a cache as it is
    likely: int = 8,  # the same where there is no cache
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
            found = _whole(path, key)
            if found and (leave_out or found.usable == found.images) and (bits is None or found.scales <= {bits}):
                on_progress(len(files), len(files))
                return found
            # Earlier versions left `.part` and `.journal` when they were killed.
            for ending in ("", ".json", ".jsonl", ".part", ".journal"):
                _beside(path, ending).unlink(missing_ok=True)
            least = bits or likely
            decode = partial(decode_chunk, size, bits=least)
            with open_durably(table_of(path)) as table:
                reports = ReportWriter(table)
                with contextlib.suppress(_UnusableError), open_durably(path) as file:
                    digest = _decode(files, file, size, decode, workers, reports, on_progress)
                    if reports.usable < reports.images and not leave_out:
                        raise _UnusableError
            if not path.exists():
                raise BadImagesError(path)
            record = {"key": key, "digest": digest, "stamp": _stamp(path), "bits": least, **reports.summary()}
            write_durably(_beside(path, ".json"), _json(record))
            return _cache(path, record)
    except BrokenProcessPool:
        raise InputError(
            f"a process that decodes into {path} was killed (for want of memory?) or could not start; a script of "
            'yours that uses processes needs `if __name__ == "__main__":`. Give the same command again; --workers 1 '
            "needs the least memory"
        ) from None


def is_built(files: Sequence[ImageFile], path: Path, size: int) -> bool:
    """Whether the cache of these files is there, by its record."""
    return path.is_file() and read_record(path).get("key") == _key(files, size)


def find_cache(path: Path) -> Cache | None:
    """The cache at a path, or None where there is no finished one.

    Its pixels are trusted while the file's size and modification time are the recorded ones, and hashed otherwise;
    `InputError` if they are not the recorded ones then.
    """
    there = read_record(path)
    if not there or not path.is_file():
        return None
    record = _with_table(path, there) if isinstance(there["images"], list) else there
    cache, stamp = _cache(path, record), _stamp(path)
    if stamp != record["stamp"]:
        verify_cache(cache)
    if record | {"stamp": stamp} != there:
        # A folder that is only readable is hashed each time.
        with contextlib.suppress(OSError), replacing(_beside(path, ".json")) as file:
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
        record = json.loads(_beside(path, ".json").read_text(encoding="utf-8"))
        earlier = {"key", "digest", "stamp", "images"}
        needed = earlier if isinstance(record.get("images"), list) else {*earlier, *RECORDED}
        return record if needed <= set(record) else {}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def decode_chunk(
    size: int, files: Sequence[ImageFile], *, bits: int = 8
) -> tuple[NDArray[np.uint8], list[ImageReport]]:
    """Decode some images; pixels `(n, size, size, 3)` of those that can be used, and a report on each."""
    pixels, reports = [], []
    for file in files:
        became: dict[str, Any]
        try:
            decoded = decode_image(Path(file.path), size, shape=file.shape, bits=bits)
            pixels.append(decoded.pixels)
            became = {"file_digest": decoded.file_digest, "note": decoded.note, "bits": decoded.bits}
        except BadImageError as error:
            became = {"problem": str(error)}
        reports.append(ImageReport(id=file.id, path=file.path, **became))
    return np.array(pixels, dtype=np.uint8), reports


def _decode(
    files: Sequence[ImageFile],
    file: BinaryIO,  # an empty `.npy`
    size: int,
    decode: Callable[[Sequence[ImageFile]], tuple[NDArray[np.uint8], list[ImageReport]]],
    workers: int,
    reports: ReportWriter,
    on_progress: OnProgress,
) -> str:
    """Decode all images into an open `.npy`; give the digest of its pixels."""
    chunks, digest = _chunks(files), hashlib.sha256()
    file.write(_header(len(files), size))
    with contextlib.closing(map_in_processes(decode, chunks, min(workers, max(len(chunks), 1)))) as results:
        for pixels, some in results:
            # Written, not mapped: a full disk is then an error, where a mapped write would kill the process.
            file.write(pixels.data)
            digest.update(pixels.data)
            reports.write(some)
            on_progress(len(some), len(files))
    file.seek(0)
    file.write(_header(reports.usable, size))
    return digest.hexdigest()


def _whole(path: Path, key: str) -> Cache | None:
    """The cache of a key, if it is there; one that was damaged is not."""
    with contextlib.suppress(InputError, OSError):
        found = find_cache(path)
        # Asked after it was found, which may change the key of an earlier version's.
        if found and read_record(path).get("key") == key and file_digest(table_of(path)) == found.table:
            return found
    return None


def _cache(path: Path, record: Mapping[str, Any]) -> Cache:
    return Cache(path=path, **{name: record[name] for name in RECORDED})


def _with_table(path: Path, earlier: Mapping[str, Any]) -> dict[str, Any]:
    """The record of an earlier version, its reports moved into a table if the folder can be written."""
    reports = [ImageReport(**r, bits=16 if UPPER_8_OF_16 in r["note"] else 0) for r in earlier["images"]]
    key = earlier["key"]
    if any(report.bits for report in reports):
        # It can be trained on as before; an import of the same files today is another one.
        key = ""
        kept = "kept the upper 8 of 16 bits, also of images that use 12 (16 grey levels)"
        logger.warning("%s was decoded by an earlier version, which %s: import it again with --replace", path, kept)
    with contextlib.suppress(OSError), replacing(table_of(path)) as file:
        ReportWriter(file).write(reports)
    summed = ReportWriter(BytesIO())
    summed.write(reports)
    return {**earlier, "key": key, "bits": 16, **summed.summary()}


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
                stamp = _stamp(file.path)
            digest.update(json.dumps([file.id, file.path, file.shape, stamp]).encode())
        keys.append(digest.hexdigest())
    return hashlib.sha256("".join(keys).encode()).hexdigest()


def _stamp(path: Path | str) -> list[int]:
    status = os.stat(path)  # noqa: PTH116 - a key of 100,000 files is made in half the time without a `Path` for each
    return [status.st_size, status.st_mtime_ns]


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}{ending}")


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record, indent=1).encode()
