"""Making a cache: in parallel, whole or not at all, resumable, safe against two processes at once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from ...errors import InputError
from ...files import alone
from .cache import (
    CHUNK,
    BadImagesError,
    Cache,
    ImageFile,
    ImageReport,
    beside,
    find_cache,
    open_pixels,
    pixels_digest,
    read_record,
    stamp_of,
    write_json,
)
from .decode import DECODER_VERSION, BadImageError, decode_image
from .workers import worker_pool

# A header of this length lets the pixels start on a memory page.
HEADER_BYTES = 4096


def build_cache(
    files: Sequence[ImageFile],
    path: Path,
    size: int,
    *,
    workers: int = 1,
    leave_out: bool = False,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Cache:
    """Decode the files into a cache; what an earlier, killed pass has finished is kept.

    Args:
        files: in the order of the cache.
        path: of the `.npy` to make.
        size: side of the images in pixels.
        workers: processes that decode.
        leave_out: leave out images that cannot be used instead of raising.
        on_progress: told how many images were finished, each time some are.

    Raises:
        BadImagesError: after the whole pass, if images cannot be used; the same call goes on from there.
        InputError: if the disk is full, or the folder cannot be written.
    """
    try:
        with alone(Path(f"{path}.lock"), f"decoding into {path}"):
            job = _Job(files=files, path=path, size=size)
            if (found := job.found()) and (leave_out or not any(image.problem for image in found.images)):
                on_progress(len(files))
                return found
            return job.run(workers, leave_out, on_progress)
    except BrokenProcessPool:
        raise InputError(
            f"a process that decodes for {path} was ended from outside, or a script starts mltbench without "
            '`if __name__ == "__main__":`. What was decoded is kept: the same command goes on; --workers 1 needs '
            "the least memory"
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot write the image cache {path}: {error.strerror or error}; it needs "
            f"{len(files) * size**2 * 3:,} bytes. Free some space or give another folder with --data-root "
            "(MLTBENCH_DATA); the same command then goes on where it stopped"
        ) from error


class _Job:
    """One pass over the files of one cache."""

    def __init__(self, *, files: Sequence[ImageFile], path: Path, size: int) -> None:
        self.path, self.size, self.count = path, size, len(files)
        self.part, self.journal = beside(path, "part"), beside(path, "journal")
        self.chunks = {start: list(files[start : start + CHUNK]) for start in range(0, len(files), CHUNK)}
        self.keys = {start: _key(chunk, size) for start, chunk in self.chunks.items()}
        self.key = hashlib.sha256("".join(self.keys.values()).encode()).hexdigest()

    def found(self) -> Cache | None:
        """The finished cache of the same files, unless it was damaged since."""
        try:
            return find_cache(self.path) if read_record(self.path).get("key") == self.key else None
        except InputError:
            return None

    def run(self, workers: int, leave_out: bool, on_progress: Callable[[int], None]) -> Cache:
        for stale in (self.path, beside(self.path, "json")):
            stale.unlink(missing_ok=True)
        done = self.resume()
        if not done:
            self.start()
        on_progress(sum(len(self.chunks[start]) for start in done))
        missing = [start for start in self.chunks if start not in done]
        with worker_pool(min(workers, max(len(missing), 1))) as pool, self.journal.open("a", encoding="utf-8") as log:
            futures = [pool.submit(decode_chunk, self.part, self.size, i, self.chunks[i]) for i in missing]
            for future in as_completed(futures):
                entry = future.result()
                entry["key"] = self.keys[entry["start"]]
                log.write(json.dumps(entry) + "\n")
                log.flush()
                done[entry["start"]] = entry
                on_progress(len(self.chunks[entry["start"]]))
        return self.finish(
            [ImageReport(**image) for start in self.chunks for image in done[start]["images"]], leave_out
        )

    def start(self) -> None:
        """Make the file at its full size (sparse where the file system can) and an empty journal."""
        with self.part.open("wb") as file:
            file.write(_header((self.count, self.size, self.size, 3)))
            file.truncate(self.offset(self.count))
        self.journal.write_text("", encoding="utf-8")

    def offset(self, row: int) -> int:
        return HEADER_BYTES + row * self.size * self.size * 3

    def resume(self) -> dict[int, dict[str, Any]]:
        """Chunks that an earlier pass has finished without problem and whose pixels are still those of its journal."""
        kept: dict[int, dict[str, Any]] = {}
        try:
            lines = self.journal.read_text(encoding="utf-8").splitlines()
            with self.part.open("rb") as file:
                if file.read(HEADER_BYTES) != _header((self.count, self.size, self.size, 3)):
                    return {}
                for entry in [json.loads(line) for line in lines if line.endswith("}")]:
                    start = entry["start"]
                    file.seek(self.offset(start))
                    data = file.read(self.offset(len(self.chunks[start])) - HEADER_BYTES)
                    clean = not any(image["problem"] for image in entry["images"])
                    if (
                        clean
                        and entry["key"] == self.keys[start]
                        and hashlib.sha256(data).hexdigest() == entry["digest"]
                    ):
                        kept[start] = entry
        except (OSError, ValueError, KeyError, TypeError):
            return kept
        return kept

    def finish(self, images: list[ImageReport], leave_out: bool) -> Cache:
        good = [row for row, image in enumerate(images) if not image.problem]
        if len(good) < len(images):
            if not leave_out:
                raise BadImagesError(images)
            self.journal.unlink()  # from here on the rows are no more where the journal says
            self.close_gaps(good)
        digest = pixels_digest(open_pixels(self.part))
        with self.part.open("r+b") as file:
            os.fsync(file.fileno())
        self.part.replace(self.path)
        record = {"key": self.key, "digest": digest, "stamp": stamp_of(self.path)}
        write_json(beside(self.path, "json"), record | {"images": [asdict(image) for image in images]})
        self.journal.unlink(missing_ok=True)
        return Cache(path=self.path, digest=digest, images=tuple(images))

    def close_gaps(self, good: Sequence[int]) -> None:
        with self.part.open("r+b") as file:
            for target, row in enumerate(good):
                if target != row:
                    file.seek(self.offset(row))
                    pixels = file.read(self.offset(1) - HEADER_BYTES)
                    file.seek(self.offset(target))
                    file.write(pixels)
            file.seek(0)
            file.write(_header((len(good), self.size, self.size, 3)))
            file.truncate(self.offset(len(good)))


def decode_chunk(part: Path, size: int, start: int, files: Sequence[ImageFile]) -> dict[str, Any]:
    """Decode a chunk and write it to its place in the file; return its line of the journal."""
    pixels = np.zeros((len(files), size, size, 3), dtype=np.uint8)
    reports = []
    for i, file in enumerate(files):
        try:
            decoded = decode_image(Path(file.path), size, shape=file.shape)
            pixels[i] = decoded.pixels
            report = ImageReport(id=file.id, path=file.path, file_digest=decoded.file_digest, note=decoded.note)
        except BadImageError as error:
            report = ImageReport(id=file.id, path=file.path, problem=str(error))
        reports.append(report)
    # Written, not mapped: a full disk is then an error, where a mapped write would kill the process.
    with part.open("r+b") as out:
        out.seek(HEADER_BYTES + start * size * size * 3)
        out.write(pixels.data)
    digest = hashlib.sha256(pixels.data).hexdigest()
    return {"start": start, "digest": digest, "images": [asdict(report) for report in reports]}


def _header(shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    return npy.magic(1, 0) + (HEADER_BYTES - 10).to_bytes(2, "little") + text.ljust(HEADER_BYTES - 11).encode() + b"\n"


def _key(files: Sequence[ImageFile], size: int) -> str:
    """SHA-256 over what is asked for: the files with their sizes and times, in order, and how they are decoded."""
    digest = hashlib.sha256(f"decoder {DECODER_VERSION}, side {size}\n".encode())
    for file in files:
        try:
            status = Path(file.path).stat()
            stamp: Any = [status.st_size, status.st_mtime_ns]
        except (OSError, ValueError):
            stamp = None
        digest.update(json.dumps([file.id, file.path, file.shape, stamp]).encode())
    return digest.hexdigest()
