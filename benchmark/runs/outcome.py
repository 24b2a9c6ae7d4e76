"""What a finished run leaves in its folder: average precision per class, raw scores, weights."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...datasets.dataset import Dataset
from ...files import open_durably, write_durably
from ..training.metrics import Scores

if sys.platform != "win32":
    import resource


def write_outcome(
    folder: Path,
    dataset: Dataset,
    network: nn.Module,
    *,
    validation: Scores | None,
    test: Scores | None,
    test_scores: NDArray[np.float32] | None,
) -> None:
    """Write `per_class.json` of what was scored, `weights.pt` and, if the test split was opened, `test_scores.npz`.

    The latter are `(N, C)` float32 raw logits.

    Raises:
        OSError: if the disk is full, say.
    """
    classes = dataset.classes
    scored = {"test": test, "validation": validation}
    there = {split: scores for split, scores in scored.items() if scores is not None}
    per_class = {
        "average_precision": {
            split: dict(zip(classes, [None if np.isnan(ap) else ap for ap in scores.per_class.tolist()], strict=True))
            for split, scores in there.items()
        },
        "classes_without_positives": {split: [classes[i] for i in scores.excluded] for split, scores in there.items()},
        # Reports need class sizes and groups, and must not have to open the dataset for them.
        "training_images_per_class": dict(zip(classes, dataset.statistics.counts.tolist(), strict=True)),
        "training_images": dataset.statistics.num_images,
        # Predictions scale images of 16 bits as the dataset did.
        "image_bits": dataset.split("train").bits,
    }
    write_durably(folder / "per_class.json", json.dumps(per_class, indent=1).encode())
    if test_scores is not None:
        split, names = dataset.split("test"), np.array(classes)
        with open_durably(folder / "test_scores.npz") as file:
            np.savez_compressed(file, scores=test_scores, labels=split.labels, ids=split.ids, classes=names)
    buffer = io.BytesIO()
    torch.save({name: value.cpu() for name, value in network.state_dict().items()}, buffer)
    write_durably(folder / "weights.pt", buffer.getbuffer())


def peak_memory_mib(device: torch.device) -> float | None:
    """Peak memory: of the device's allocator on CUDA, of this process on the CPU; None where it is not known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "win32":
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
