"""A dataset in numbers."""

from __future__ import annotations

from typing import Any

from .dataset import SPLITS, Dataset
from .statistics import GROUPS, within_class_sampling_variance


def describe(dataset: Dataset) -> dict[str, Any]:
    """Sizes, labels per image, groups and per-class statistics, as plain JSON."""
    statistics = dataset.statistics
    splits = {name: dataset.split(name) for name in SPLITS}
    variance = within_class_sampling_variance(splits["train"].labels)
    return {
        "name": dataset.name,
        "digest": dataset.digest,
        "images": ", ".join(f"{name} {len(split)}" for name, split in splits.items()),
        "image_shape": str(splits["train"].images.shape[1:]),
        "labels_per_image": ", ".join(f"{name} {split.labels.sum(1).mean():.3f}" for name, split in splits.items()),
        "groups": ", ".join(f"{group} {int(statistics.group_mask(group).sum())}" for group in GROUPS),
        "largest_class": int(statistics.counts.max()),
        "smallest_class": int(statistics.counts.min()),
        "classes": [
            {
                "name": name,
                "group": statistics.group_names[i],
                "train": int(statistics.counts[i]),
                "validation": int(splits["validation"].labels[:, i].sum()),
                "test": int(splits["test"].labels[:, i].sum()),
                "expected_frequency_class_aware": round(float(statistics.expected_frequencies[i]), 6),
                "within_class_sampling_variance": round(float(variance[i]), 6),
            }
            for i, name in enumerate(dataset.classes)
        ],
    }
