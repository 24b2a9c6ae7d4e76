"""What a finished run leaves in its folder: average precision per class, raw scores, weights."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...files import open_durably, write_durably

if TYPE_CHECKING:
    from ...datasets.dataset import Dataset
    from ..training.training_run import Outcome


# Files of a run's folder that are kept with it, in MLflow and wherever else it is brought.
ARTIFACTS = ("experiment.json", "provenance.json", "per_class.json", "test_scores.npz", "weights.pt", "journal.jsonl")


def write_outcome(outcome: Outcome, dataset: Dataset, folder: Path) -> None:
    """Write `per_class.json`, `weights.pt` and, if the test split was scored, `test_scores.npz`.

    Raises:
        OSError: if the disk is full, say.
    """
    import torch

    write_durably(folder / "per_class.json", json.dumps(_per_class(outcome, dataset), indent=1).encode())
    if outcome.test_scores is not None:
        test, classes = dataset.split("test"), np.array(dataset.classes)
        with open_durably(folder / "test_scores.npz") as file:
            np.savez_compressed(file, scores=outcome.test_scores, labels=test.labels, ids=test.ids, classes=classes)
    buffer = io.BytesIO()
    torch.save({name: value.cpu() for name, value in outcome.network.state_dict().items()}, buffer)
    write_durably(folder / "weights.pt", buffer.getbuffer())


def _per_class(outcome: Outcome, dataset: Dataset) -> Mapping[str, Any]:
    classes = dataset.classes
    scored = {"test": outcome.test, "validation": outcome.validation}
    return {
        "average_precision": {
            split: dict(zip(classes, [None if np.isnan(ap) else ap for ap in scores.per_class.tolist()], strict=True))
            for split, scores in scored.items()
            if scores is not None
        },
        "classes_without_positives": {
            split: [classes[i] for i in scores.excluded] for split, scores in scored.items() if scores is not None
        },
        # Reports need class sizes and groups, and must not have to open the dataset for them.
        "training_images_per_class": dict(zip(classes, dataset.statistics.counts.tolist(), strict=True)),
        "training_images": dataset.statistics.num_images,
    }
