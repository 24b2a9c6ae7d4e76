"""How fast images are decoded into a cache and read from it, beside Pillow in a plain loop."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from PIL import Image

from ...errors import InputError
from ..images.cache import ImageFile, open_pixels
from ..images.cache_building import build_cache
from ..images.decode import BadImageError, decode_image

WHY = (
    "The two loops of Pillow differ in scaling alone: resize antialiases and is fast; transform reads the four "
    "neighbours of each pixel, as the code behind the published numbers did (OpenCV's INTER_LINEAR), and takes longer. "
    "Ours gives transform's pixels, turned upright, and hashes each file; making the cache also hashes and syncs the "
    "pixels, and starts its processes, which weighs on few images. That is paid once: training reads the cache."
)


@dataclass(frozen=True, kw_only=True)
class DecodeRate:
    """One way to get at images, measured.

    Attributes:
        way: in words.
        processes: that work at once.
        images_per_second: of all processes together.
    """

    way: str
    processes: int
    images_per_second: float


@dataclass(frozen=True, kw_only=True)
class DecodeComparison:
    """What was measured of some image files.

    Attributes:
        images: that were decoded.
        left_out: files that hold no image that can be used.
        size: side of the decoded images.
        file_bytes: of the image files.
        cache_bytes: of the cache.
        rates: of each way, Pillow's plain loop first.
    """

    images: int
    left_out: Sequence[str]
    size: int
    file_bytes: int
    cache_bytes: int
    rates: Sequence[DecodeRate]


def compare_decoding(
    files: Sequence[Path],
    size: int,
    processes: Sequence[int],
    *,
    aside: Path,
    on_way: Callable[[str], None] = lambda way: None,
) -> DecodeComparison:
    """Measure plain loops, making a cache with each number of processes, and reading the cache.

    All files are decoded once before, unmeasured, so that every way finds them in the system's memory.

    Args:
        files: image files; those that cannot be used are left out.
        size: side of the decoded images.
        processes: numbers of them to try.
        aside: folder in which the cache is made, and removed again.
        on_way: told what is measured next.

    Raises:
        InputError: if no image can be used, or the folder cannot be written.
    """
    on_way("all files once, unmeasured")
    good = [path for path in files if _usable(path, size)]
    if not good:
        raise InputError(f"none of the {len(files)} files is an image that can be used, such as {files[0]}")
    rates = []
    for way, decode in _loops(size).items():
        on_way(way)
        rates.append(_measured(way, 1, len(good), partial(_each, decode, good)))
    images = [ImageFile(id=str(path), path=str(path)) for path in good]
    for number in processes:
        on_way(f"making the cache, {number} at once")
        with _scratch(aside) as folder:
            path = Path(folder) / "images.npy"
            make = partial(build_cache, images, path, size, workers=number)
            rates.append(_measured("ours: making the cache", number, len(good), make))
            cache_bytes = path.stat().st_size
            read = _measured("ours: reading it in random order", 1, len(good), partial(_read, path))
    return DecodeComparison(
        images=len(good),
        left_out=[str(path) for path in files if path not in set(good)],
        size=size,
        file_bytes=sum(path.stat().st_size for path in good),
        cache_bytes=cache_bytes,
        rates=[*rates, read],
    )


def _loops(size: int) -> dict[str, Callable[[Path], NDArray[np.uint8]]]:
    return {
        "Pillow loop: resize (antialiases)": lambda path: _resized(path, size),
        "Pillow loop: transform (as published)": lambda path: _transformed(path, size),
        "ours, loop: the same pixels": lambda path: decode_image(path, size).pixels,
    }


def _each(decode: Callable[[Path], object], files: Sequence[Path]) -> None:
    for path in files:
        decode(path)


def _resized(path: Path, size: int) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


def _transformed(path: Path, size: int) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        box = (0, 0, *image.size)
        rgb = image.convert("RGB")
        return np.asarray(rgb.transform((size, size), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR))


def _read(cache: Path) -> None:
    pixels = open_pixels(cache)
    for row in RandomState(0).permutation(len(pixels)):
        np.array(pixels[row])


def _usable(path: Path, size: int) -> bool:
    try:
        decode_image(path, size)
    except BadImageError:
        return False
    return True


def _measured(way: str, processes: int, images: int, work: Callable[[], object]) -> DecodeRate:
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    return DecodeRate(way=way, processes=processes, images_per_second=images / seconds)


def _scratch(aside: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(dir=aside, prefix=".mltbench-decode-")
    except OSError as error:
        raise InputError(
            f"cannot write to {aside}: {error.strerror}; start it in a folder that can be written"
        ) from error
