"""What `bench scale` does with a split: all that a training does but the network, in the trainer's own code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...datasets.dataset import Dataset, Split
from ...methods.catalogue import get_method
from ...methods.samplers import ClassAware
from ..experiments.experiment import Experiment
from ..experiments.recipe import RECIPES
from ..networks.backbones import get_backbone
from ..networks.initial_weights import RANDOM
from ..runs.outcome_files import write_outcome
from ..training.checkpoint import Header, write_checkpoint
from ..training.execution import Execution
from ..training.metrics import score
from ..training.trainer import Trainer
from ..training.training_run import Outcome
from .gauge import Gauge

SIDE = 32
# Rows of the synthetic split that are made at a time.
ROWS_AT_ONCE = 65536


def work_on_images(images: int, classes: int, folder: Path, gauge: Gauge) -> None:
    """Open a split of memory-mapped files, draw an epoch of it and gather its batches, score it and write all down."""
    torch.set_num_threads(1)
    arrays = _mapped_arrays(images, classes, folder)
    with gauge.piece("open"):
        split = Split(**arrays)
    with gauge.piece("digest"):
        digests = dict.fromkeys(("train", "test"), split.digest)
    dataset = Dataset(
        name="synthetic",
        classes=tuple(f"class {i}" for i in range(classes)),
        digests=digests,
        openers=dict.fromkeys(digests, lambda: split),
    )
    with gauge.piece("statistics"):
        statistics = dataset.statistics
    with gauge.piece("sampler"):
        trainer = Trainer(_experiment(dataset), dataset, Execution())
        course = trainer.begin_epoch(0)
    with gauge.piece("batches"):
        for batch, prepared in trainer.prepared_batches(course):
            indices = course.on_device[batch]
            assert len(trainer.data.batch(indices)) == len(trainer.data.targets(indices)) == len(prepared.rows)
    with gauge.piece("checkpoint"):
        header = Header(experiment="", attempt=0, device="cpu", threads=1, machine="", epochs=0, steps=0)
        write_checkpoint(folder, header, {"trainer": trainer.state()})
    trainer.course = None
    del course
    stand_in: Any = _AnyScores(classes)
    trainer.network = stand_in
    with gauge.piece("scores"):
        logits = trainer.logits("test", folder=folder)
    with gauge.piece("metrics"):
        scores = score(logits, split.labels, statistics)
    with gauge.piece("outcome"):
        outcome = Outcome(validation=scores, test=scores, test_scores=logits, network=trainer.network, cost={})
        write_outcome(outcome, dataset, folder)


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


def _experiment(dataset: Dataset) -> Experiment:
    """Class-aware, whose cycles are the most that a sampler holds; an epoch has about as many draws as images."""
    method = replace(get_method("rs"), sampler=ClassAware(epoch_fraction=1.0))
    recipe = replace(RECIPES["digits"], image_size=SIDE)
    return Experiment(
        dataset=dataset.name,
        dataset_digest=dataset.digest,
        method=method,
        training=recipe.resolved(method.schedule, device_type="cpu"),
        backbone="digits-resnet",
        weights_digest=RANDOM,
        input_format=get_backbone("digits-resnet").input,
        word_vectors_digest=None,
        seed=0,
    )


class _AnyScores(nn.Module):
    """Stands for a network: scores that have nothing to do with the images."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, images: Tensor) -> Tensor:
        """Random logits `(N, C)`."""
        return torch.randn(len(images), self.classes)
