"""A dataset, or a label matrix alone, in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..dataset import SPLITS, Dataset
from ..long_tail.statistics import GROUPS, ClassStatistics, within_class_sampling_variance


def describe_labels(name: str, labels: NDArray[np.uint8], classes: Sequence[str]) -> dict[str, Any]:
    """Sizes, labels per image, groups and per-class statistics of a training label matrix, as plain JSON."""
    statistics = ClassStatistics.from_labels(labels, class_names=classes)
    variance = within_class_sampling_variance(labels)
    return {
        "name": name,
        "images": f"train {len(labels)}",
        "labels_per_image": f"train {labels.sum(1).mean():.3f}",
        "groups": ", ".join(f"{group} {int(statistics.group_mask(group).sum())}" for group in GROUPS),
        "labels_per_image_by_group": ", ".join(
            f"{group} {labels[:, statistics.group_mask(group)].sum() / len(labels):.3f}" for group in GROUPS
        ),
        "largest_class": int(statistics.counts.max()),
        "smallest_class": int(statistics.counts.min()),
        "classes": [
            {
                "name": class_name,
                "group": statistics.group_names[i],
                "train": int(statistics.counts[i]),
                "expected_frequency_class_aware": round(float(statistics.expected_frequencies[i]), 6),
                "within_class_sampling_variance": round(float(variance[i]), 6),
            }
            for i, class_name in enumerate(classes)
        ],
    }


def describe(dataset: Dataset) -> dict[str, Any]:
    """What `describe_labels` says of the training split, with digest, image shape and the other splits.

    Labels are enough; the image shape is left out where the images are not at hand.
    """
    labels = {name: dataset.labels(name) for name in SPLITS if name in dataset.digests}
    description = describe_labels(dataset.name, labels["train"], dataset.classes)
    for i, row in enumerate(description["classes"]):
        row |= {name: int(matrix[:, i].sum()) for name, matrix in labels.items() if name != "train"}
    description |= {
        "digest": dataset.digest,
        "images": ", ".join(f"{name} {len(matrix)}" for name, matrix in labels.items()),
        "labels_per_image": ", ".join(f"{name} {matrix.sum(1).mean():.3f}" for name, matrix in labels.items()),
    }
    try:
        shapes = {name: dataset.split(name).images.shape[1:] for name in labels}
    except InputError as error:
        return description | {"image_shape": f"no images: {error}"}
    same = len(set(shapes.values())) == 1
    shown = shapes["train"] if same else ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    return description | {"image_shape": str(shown)}
