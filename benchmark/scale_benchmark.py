"""Time and peak memory as datasets grow, each size in a process of its own; growth as an exponent."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

IMAGES = (1_000, 10_000, 100_000, 1_000_000)
CLASSES = (20, 80, 1_000, 10_000)
SIDE = 32
FEW_CLASSES = 20
IMAGES_OF_MANY_CLASSES = 100_000
LABELS_PER_IMAGE = 3
BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Size:
    """What one size took.

    Attributes:
        images: N.
        classes: C.
        seconds: by piece of work.
        peak_mib: most anonymous memory over that of a process that has only imported; pages of the mapped file, which
            the system takes back when it needs them, are not in it. NaN where the system does not tell.
    """

    images: int
    classes: int
    seconds: dict[str, float]
    peak_mib: float


def measure_in_child(images: int, classes: int, *, sparse: bool) -> Size:
    """Measure one size in a fresh process.

    Raises:
        RuntimeError: if the process ends badly.
    """
    command = [sys.executable, "-m", __name__, str(images), str(classes), str(int(sparse))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"measuring {images:,} images of {classes:,} classes failed: {done.stderr.strip()[-400:]}")
    return Size(**json.loads(done.stdout.splitlines()[-1]))


def growth(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Exponent of a power law by least squares on logarithms; 1 is linear, 0 flat.

    >>> round(growth([1, 10, 100], [2, 20, 200]), 6)
    1.0
    """
    pairs = [(math.log(size), math.log(max(value, 1e-9))) for size, value in zip(sizes, values, strict=True)]
    return float(np.polyfit([x for x, _ in pairs], [y for _, y in pairs], 1)[0])


def measure(images: int, classes: int, *, sparse: bool) -> Size:
    """Measure one size here: statistics, and (dense labels) everything else that a training does with a split."""
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, _peak_memory() as peak:
        if sparse:
            _sparse_work(images, classes, seconds)
        else:
            _dense_work(images, classes, Path(folder), seconds)
    return Size(images=images, classes=classes, seconds=seconds, peak_mib=max(peak) - peak[0])


def _dense_work(images: int, classes: int, folder: Path, seconds: dict[str, float]) -> None:
    import torch

    from ..datasets.dataset import Split
    from ..datasets.statistics import ClassStatistics
    from ..methods.samplers import ClassAware
    from .device_data import DeviceData
    from .metrics import average_precision

    generator = np.random.Generator(np.random.PCG64(0))
    labels = np.zeros((images, classes), dtype=np.uint8)
    labels[np.arange(images), generator.integers(0, classes, images)] = 1
    # A file with holes: as many bytes to read as a full one, and none to write.
    pixels = np.memmap(folder / "images", np.uint8, "w+", shape=(images, SIDE, SIDE, 3))
    with _timed(seconds, "open"):
        split = Split(images=pixels, labels=labels, ids=np.array([f"{i:09d}" for i in range(images)]))
        data = DeviceData(split, torch.device("cpu"))
    with _timed(seconds, "digest"):
        assert split.digest
    with _timed(seconds, "statistics"):
        ClassStatistics.from_labels(labels)
    with _timed(seconds, "sampler"):
        ClassAware().open(labels, generator).next_epoch()
    with _timed(seconds, "batches"):
        order = torch.from_numpy(generator.permutation(images))
        for start in range(0, images, BATCH):
            indices = order[start : start + BATCH]
            data.batch(indices)
            data.targets(indices)
    scores = generator.standard_normal((images, classes), dtype=np.float32)
    with _timed(seconds, "metrics"):
        average_precision(scores, labels)


def _sparse_work(images: int, classes: int, seconds: dict[str, float]) -> None:
    from scipy.sparse import csr_array

    from ..datasets.statistics import ClassStatistics

    generator = np.random.Generator(np.random.PCG64(0))
    columns = generator.integers(0, classes, (images, LABELS_PER_IMAGE))
    columns[:classes, 0] = np.arange(classes)
    rows = np.repeat(np.arange(images), LABELS_PER_IMAGE)
    labels = csr_array((np.ones(rows.size, np.int64), (rows, columns.ravel())), shape=(images, classes))
    labels.sum_duplicates()
    labels.data[:] = 1
    with _timed(seconds, "statistics"):
        ClassStatistics.from_labels(labels)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started


@contextmanager
def _peak_memory() -> Iterator[list[float]]:
    """Anonymous memory of this process in MiB, every few milliseconds; the first value is that before."""
    values, stop = [_anonymous_mib()], threading.Event()

    def follow() -> None:
        while not stop.wait(0.005):
            values.append(_anonymous_mib())

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield values
    finally:
        stop.set()
        thread.join()
        values.append(_anonymous_mib())


def _anonymous_mib() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return math.nan
    line = next((line for line in status.read_text().splitlines() if line.startswith("RssAnon")), "x nan")
    return float(line.split()[1]) / 1024


def main(arguments: Sequence[str]) -> None:
    """Measure the size that the command line names and print it as JSON."""
    import torch

    torch.set_num_threads(1)
    images, classes, sparse = (int(word) for word in arguments)
    sys.stdout.write(json.dumps(asdict(measure(images, classes, sparse=bool(sparse)))) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
