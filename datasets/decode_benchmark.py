"""How fast images are decoded into a cache, beside Pillow in a plain loop."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .images.cache import ImageFile
from .images.cache_building import build_cache
from .images.decode import decode_image


@dataclass(frozen=True, kw_only=True)
class DecodeRate:
    """One way of decoding, measured.

    Attributes:
        what: in words.
        images_per_second: over all images.
        cache_mib: size of what it leaves on disk; 0 for nothing.
    """

    what: str
    images_per_second: float
    cache_mib: float


def measure_decoding(files: Sequence[Path], size: int, workers: Sequence[int], folder: Path) -> list[DecodeRate]:
    """Measure Pillow in a plain loop, our decoder in a plain loop, and the cache with each number of processes.

    Args:
        files: image files, all of which can be decoded.
        size: side of the decoded images.
        workers: numbers of processes.
        folder: where caches are made and removed again.
    """
    rates = [_loop("Pillow: open, convert, resize (bilinear)", files, lambda path: _pillow(path, size))]
    rates.append(_loop("ours, one image after another", files, lambda path: decode_image(path, size).pixels))
    images = [ImageFile(id=path.name, path=str(path)) for path in files]
    for number in workers:
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            started = time.perf_counter()
            cache = build_cache(images, Path(aside) / "images.npy", size, workers=number)
            seconds = time.perf_counter() - started
            mib = cache.path.stat().st_size / 2**20
        what = f"ours, into a checked cache, {number} process{'es' * (number > 1)}"
        rates.append(DecodeRate(what=what, images_per_second=len(files) / seconds, cache_mib=mib))
    return rates


def _loop(what: str, files: Sequence[Path], decode: Callable[[Path], object]) -> DecodeRate:
    started = time.perf_counter()
    for path in files:
        decode(path)
    return DecodeRate(what=what, images_per_second=len(files) / (time.perf_counter() - started), cache_mib=0.0)


def _pillow(path: Path, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
