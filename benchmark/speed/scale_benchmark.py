"""Time and peak memory as datasets grow, each size in a process of its own; growth as an exponent."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from .gauge import Gauge

IMAGES = (1_000, 10_000, 100_000, 1_000_000)
CLASSES = (20, 80, 1_000, 10_000)
FEW_CLASSES = 20
IMAGES_OF_MANY_CLASSES = 100_000
LABELS_PER_IMAGE = 3


@dataclass(frozen=True, kw_only=True)
class Size:
    """What one size took.

    Attributes:
        images: N.
        classes: C.
        seconds: by piece of work.
        peak_mib: most anonymous memory by piece of work, over that of a process that has only imported; see `Gauge`.
    """

    images: int
    classes: int
    seconds: dict[str, float]
    peak_mib: dict[str, float]


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
    """Measure one size here: statistics of sparse labels, or all that a training does with a split of dense ones."""
    if sparse:
        gauge = _count_sparse_labels(images, classes)
    else:
        from .scale_work import work_on_images

        gauge = Gauge()
        with tempfile.TemporaryDirectory() as folder:
            work_on_images(images, classes, Path(folder), gauge)
    return Size(images=images, classes=classes, seconds=gauge.seconds, peak_mib=gauge.peak_mib)


def _count_sparse_labels(images: int, classes: int) -> Gauge:
    from scipy.sparse import csr_array

    from ...datasets.long_tail.statistics import ClassStatistics

    generator = np.random.Generator(np.random.PCG64(0))
    columns = generator.integers(0, classes, (images, LABELS_PER_IMAGE))
    columns[:classes, 0] = np.arange(classes)
    rows = np.repeat(np.arange(images), LABELS_PER_IMAGE)
    labels = csr_array((np.ones(rows.size, np.int64), (rows, columns.ravel())), shape=(images, classes))
    labels.sum_duplicates()
    labels.data[:] = 1
    gauge = Gauge()
    with gauge.piece("statistics"):
        assert len(ClassStatistics.from_labels(labels).expected_frequencies) == classes
    return gauge


def main(arguments: Sequence[str]) -> None:
    """Measure the size that the command line names and print it as JSON."""
    images, classes, sparse = (int(word) for word in arguments)
    sys.stdout.write(json.dumps(asdict(measure(images, classes, sparse=bool(sparse)))) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
