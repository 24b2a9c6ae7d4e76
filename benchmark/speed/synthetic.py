"""What speed is measured on where no image is needed: synthetic data sets with the shape of real ones."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ...datasets.dataset import Dataset, Split

# Different images of a split; the others repeat them, which makes no difference to a step.
DIFFERENT_IMAGES = 256


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Shape of a dataset: images and classes, images of its most frequent and its rarest class, side in pixels.

    `paper_images` are the training images of all `runs` of the paper's two tables.
    """

    name: str
    images: int
    classes: int
    largest: int
    smallest: int
    test_images: int
    validation_images: int = 0  # none: no such split
    side: int = 280
    runs: int = 14
    paper_images: int = 0


def synthetic_dataset(shape: Shape, *, image_size: int) -> Dataset:
    """Make a dataset of a shape: smooth random images, and labels whose class sizes fall by a power law."""
    sides = {"train": (shape.images, shape.side), "test": (shape.test_images, image_size)}
    sides |= {"validation": (shape.validation_images, image_size)} if shape.validation_images else {}
    splits = {name: _split(shape, name, *size, seed) for seed, (name, size) in enumerate(sides.items())}
    return Dataset.in_memory(f"{shape.name}-shaped", [f"class {i}" for i in range(shape.classes)], splits)


def _split(shape: Shape, name: str, images: int, side: int, seed: int) -> Split:
    generator = np.random.Generator(np.random.PCG64(seed))
    coarse = torch.from_numpy(generator.random((min(images, DIFFERENT_IMAGES), 3, 8, 8), dtype=np.float32))
    smooth = F.interpolate(255 * coarse, size=(side, side), mode="bilinear").to(torch.uint8)
    pixels = smooth.permute(0, 2, 3, 1).contiguous().numpy()
    return Split(
        images=pixels[np.arange(images) % len(pixels)],
        labels=long_tailed_labels(shape, images, generator),
        ids=np.array([f"{name}-{i:05d}" for i in range(images)]),
        recorded_digest=f"synthetic {shape} {name}",
    )


def long_tailed_labels(shape: Shape, images: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Labels `(images, C)`: class sizes from largest to smallest by a power of the rank, every image with a label.

    >>> shape = Shape(name="", images=20, classes=4, largest=12, smallest=3, test_images=0)
    >>> long_tailed_labels(shape, 20, np.random.default_rng(0)).sum(axis=0).tolist()
    [12, 6, 4, 3]
    """
    power = np.log(shape.largest / shape.smallest) / np.log(max(shape.classes, 2))
    ranks = np.arange(1, shape.classes + 1)
    counts = np.rint(shape.largest * ranks**-power * images / shape.images).clip(1, images).astype(int)
    labels = np.zeros((images, shape.classes), dtype=np.uint8)
    order, start = generator.permutation(images), 0
    for column, count in enumerate(counts):
        # Each class continues where the one before it stopped, around and around: no image stays without a label.
        labels[order[np.arange(start, start + count) % images], column] = 1
        start += count
    return labels
