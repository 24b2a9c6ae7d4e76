"""Time and peak memory as datasets grow, each size in a process of its own; growth as an exponent."""

import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import nn

from ...datasets.dataset import Dataset, Split
from ...datasets.long_tail.statistics import ClassStatistics
from ...methods.catalogue import get_method
from ...methods.samplers import ClassAware
from ..experiments.experiment import Experiment
from ..experiments.recipe import RECIPES
from ..networks.initial_weights import random_weights
from ..runs.outcome import write_outcome
from ..training.checkpoint import Header, write_checkpoint
from ..training.execution import Execution
from ..training.feed import Feed
from ..training.learner import Learner
from ..training.metrics import score
from .harness import Workers, sampled

IMAGES = (1_000, 10_000, 100_000, 1_000_000)
CLASSES = (20, 80, 1_000, 10_000)
FEW_CLASSES, IMAGES_OF_MANY_CLASSES, LABELS_PER_IMAGE = 20, 100_000, 3
SIDE = 32
# Rows of the synthetic split that are made at a time.
ROWS_AT_ONCE = 65536


def measure_size(images: int, classes: int, *, sparse: bool) -> dict[str, Any]:
    """Measure one size in a fresh process: statistics of sparse labels, or all work on a split of dense ones.

    Returns seconds and peak MiB by piece of work. Memory is what is anonymous, over that of a process that has only
    imported; pages of mapped files, which the system takes back when it needs them, are not in it. It holds what
    earlier pieces left, and is NaN where the system does not say.

    Raises:
        WorkerError: if it fails there.
    """
    with Workers(_Work) as process:
        seconds, peak_mib = process.call("on_labels" if sparse else "on_images", images, classes)[0]
    return {"images": images, "classes": classes, "seconds": seconds, "peak_mib": peak_mib}


def growth(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Exponent of a power law by least squares on logarithms; 1 is linear, 0 flat.

    >>> round(growth([1, 10, 100], [2, 20, 200]), 6)
    1.0
    """
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-9)), 1)[0])


class Pieces:
    """Measures pieces of work, one after the other, in a process of its own.

    `found` has seconds and peak MiB by piece, see `measure_size`.
    """

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self.found: tuple[dict[str, float], dict[str, float]] = {}, {}
        self.before = _anonymous_mib()

    @contextmanager
    def piece(self, name: str) -> Iterator[None]:
        """Measure what is done within."""
        seconds, peaks = self.found
        with sampled(_anonymous_mib, 0.005) as values:
            started = time.perf_counter()
            yield
            seconds[name] = time.perf_counter() - started
        peaks[name] = max([*values, _anonymous_mib()]) - self.before


class _Work(Pieces):
    """Does the pieces of a training."""

    def on_labels(self, images: int, classes: int) -> Any:
        """Statistics of sparse labels."""
        generator = np.random.Generator(np.random.PCG64(0))
        columns = generator.integers(0, classes, (images, LABELS_PER_IMAGE))
        columns[:classes, 0] = np.arange(classes)
        rows = np.repeat(np.arange(images), LABELS_PER_IMAGE)
        labels = csr_array((np.ones(rows.size, np.int64), (rows, columns.ravel())), shape=(images, classes))
        labels.sum_duplicates()
        labels.data[:] = 1
        with self.piece("statistics"):
            assert len(ClassStatistics.from_labels(labels).expected_frequencies) == classes
        return self.found

    def on_images(self, images: int, classes: int) -> Any:
        """All that a training does with a split of memory-mapped files, in its own code, but for the network."""
        with tempfile.TemporaryDirectory() as folder:
            self._on_arrays(_mapped_arrays(images, classes, Path(folder)), Path(folder), classes)
        return self.found

    def _on_arrays(self, arrays: dict[str, Any], folder: Path, classes: int) -> None:
        with self.piece("open"):
            split = Split(**arrays)
        with self.piece("digest"):
            names, splits = (f"class {i}" for i in range(classes)), {"train": split, "test": split}
            dataset = Dataset.in_memory("synthetic", names, splits)
        with self.piece("statistics"):
            statistics = dataset.statistics
        # Class-aware cycles are the most that a sampler holds; an epoch has about as many draws as images.
        method = replace(get_method("rs"), sampler=ClassAware(epoch_fraction=1.0))
        experiment = Experiment.of(dataset, method, replace(RECIPES["digits"], image_size=SIDE), random_weights())
        with self.piece("sampler"):
            learner = Learner(experiment, dataset, Execution())
            feed = Feed(experiment, dataset, learner.network, learner.device)
            feed.begin_epoch(0)
        order = feed.order
        assert order is not None
        with self.piece("batches"):
            for batch, prepared in feed.prepared_batches():
                indices = order[batch]
                assert len(feed.data.batch(indices)) == len(feed.data.targets(indices)) == len(prepared.rows)
        with self.piece("checkpoint"):
            header = Header(experiment="", attempt=0, device="cpu", threads=1, machine="", epochs=0, steps=0)
            write_checkpoint(folder, header, {"trainer": {**learner.state(), **feed.state()}})
        feed.end_epoch()
        # Stands for a network: logits that cost next to nothing.
        stand_in: Any = nn.Sequential(nn.AvgPool2d(SIDE), nn.Flatten(), nn.Linear(3, classes))
        learner.network = stand_in
        with self.piece("scores"):
            logits = learner.logits("test", folder=folder)
        with self.piece("metrics"):
            scores = score(logits, split.labels, statistics)
        with self.piece("outcome"):
            write_outcome(folder, dataset, learner.network, validation=scores, test=scores, test_scores=logits)


def _anonymous_mib() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return math.nan
    line = next((line for line in status.read_text().splitlines() if line.startswith("RssAnon")), "x nan")
    return float(line.split()[1]) / 1024


def _mapped_arrays(images: int, classes: int, folder: Path) -> dict[str, Any]:
    generator = np.random.Generator(np.random.PCG64(0))
    # A file with holes: as many bytes to read as a full one, and none to write.
    pixels = np.memmap(folder / "images", np.uint8, "w+", shape=(images, SIDE, SIDE, 3))
    labels = np.memmap(folder / "labels", np.uint8, "w+", shape=(images, classes))
    ids = np.memmap(folder / "ids", "U9", "w+", shape=(images,))
    for start in range(0, images, ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, images))
        labels[rows, generator.integers(0, classes, len(rows))] = 1
        ids[rows] = [f"{row:09d}" for row in rows]
    return {"images": pixels, "labels": labels, "ids": ids}
