"""What the rehearsal trains on: synthetic sets with the shapes of VOC-MLT and COCO-MLT, made in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ...datasets.dataset import Dataset, Split
from ...methods.catalogue import get_method
from ..experiments.experiment import Experiment
from ..experiments.recipe import PAPER, with_setting
from ..networks.backbones import get_backbone
from ..networks.initial_weights import RANDOM

METHOD = "db-focal"
# Different images of a split; the others repeat them, which no step can tell.
DIFFERENT_IMAGES = 256


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Shape of a dataset, and what the paper's two tables train on it.

    Attributes:
        name: of the dataset.
        images: of the training split.
        classes: C.
        largest: images of the most frequent class.
        smallest: images of the rarest class.
        test_images: of the test split.
        side: of training images, in pixels.
        runs: of the paper.
        paper_images: training images of all these runs.
    """

    name: str
    images: int
    classes: int
    largest: int
    smallest: int
    test_images: int
    side: int
    runs: int
    paper_images: int


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is rehearsed: plain values, so that processes can be told.

    Attributes:
        shapes: of the datasets.
        backbone: with random weights.
        image_size: side of the network's input and of test images.
        batch_size: images per step.
        device: `cpu`, `cuda` or `cuda:N`.
        threads: torch threads of each process.
        workers: loader workers of the plain loop.
        compiler: backend of `torch.compile`.
        seconds: measured per variant and shape.
    """

    shapes: tuple[Shape, ...]
    backbone: str
    image_size: int
    batch_size: int
    device: str
    threads: int
    workers: int
    compiler: str
    seconds: float


# Class sizes and images: paper, Sec. 4.1. Training images: 6 methods for 80 epochs of N, 8 for 8 epochs of n_max C / 4.
VOC = Shape(
    name="voc", images=1142, classes=20, largest=775, smallest=4, test_images=4952, side=280, runs=14,
    paper_images=6 * 80 * 1142 + 8 * 8 * 3875,
)  # fmt: skip
COCO = Shape(
    name="coco", images=1909, classes=80, largest=1128, smallest=6, test_images=5000, side=280, runs=14,
    paper_images=6 * 80 * 1909 + 8 * 8 * 22560,
)  # fmt: skip
SMALL_VOC = Shape(
    name="voc", images=60, classes=5, largest=40, smallest=4, test_images=40, side=40, runs=14,
    paper_images=VOC.paper_images,
)  # fmt: skip
SMALL_COCO = Shape(
    name="coco", images=90, classes=8, largest=50, smallest=6, test_images=40, side=40, runs=14,
    paper_images=COCO.paper_images,
)  # fmt: skip


def full_setting(device: str, cores: int) -> Setting:
    """The paper's: ResNet-50 at 224 pixels, batches of 32."""
    return Setting(
        shapes=(VOC, COCO), backbone="resnet50", image_size=224, batch_size=32, device=device,
        threads=cores if device == "cpu" else 1, workers=min(cores, 16), compiler="inductor", seconds=6.0,
    )  # fmt: skip


def small_setting(device: str) -> Setting:
    """The same code in 1.5 minutes: ResNet-18 at 32 pixels; of `torch.compile` its tracing alone."""
    return Setting(
        shapes=(SMALL_VOC, SMALL_COCO), backbone="resnet18", image_size=32, batch_size=8, device=device, threads=1,
        workers=0, compiler="eager", seconds=0.3,
    )  # fmt: skip


def synthetic_dataset(shape: Shape, *, image_size: int) -> Dataset:
    """Make a dataset of a shape: smooth random images, and labels whose class sizes fall by a power law."""
    splits = {
        "train": _split(shape, "train", shape.images, shape.side, 0),
        "test": _split(shape, "test", shape.test_images, image_size, 1),
    }
    return Dataset(
        name=f"{shape.name}-shaped",
        classes=tuple(f"class {i}" for i in range(shape.classes)),
        digests={name: split.digest for name, split in splits.items()},
        openers={name: partial(splits.__getitem__, name) for name in splits},
    )


def rehearsed_experiment(setting: Setting, shape: Shape, dataset: Dataset) -> Experiment:
    """DB-Focal with the paper's recipe on a synthetic dataset, in bfloat16 on CUDA."""
    recipe = with_setting(with_setting(PAPER, "image_size", setting.image_size), "batch_size", setting.batch_size)
    method = get_method(METHOD, dataset=f"{shape.name}-mlt")
    return Experiment(
        dataset=dataset.name,
        dataset_digest=dataset.digest,
        method=method,
        training=recipe.resolved(method.schedule, device_type=setting.device.partition(":")[0]),
        backbone=setting.backbone,
        weights_digest=RANDOM,
        input_format=get_backbone(setting.backbone).input,
        word_vectors_digest=None,
        seed=0,
    )


def long_tailed_labels(shape: Shape, images: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Labels `(images, C)`: class sizes from largest to smallest by a power of the rank, every image with a label.

    >>> shape = Shape(name="", images=20, classes=4, largest=12, smallest=3, test_images=0, side=1, runs=1,
    ...               paper_images=1)
    >>> long_tailed_labels(shape, 20, np.random.default_rng(0)).sum(axis=0).tolist()
    [12, 6, 4, 3]
    """
    power = np.log(shape.largest / shape.smallest) / np.log(shape.classes)
    ranks = np.arange(1, shape.classes + 1)
    counts = np.rint(shape.largest * ranks**-power * images / shape.images).clip(1, images).astype(int)
    labels = np.zeros((images, shape.classes), dtype=np.uint8)
    order, start = generator.permutation(images), 0
    for column, count in enumerate(counts):
        # Each class goes on where the one before it stopped, around and around: no image stays without a label.
        labels[order[np.arange(start, start + count) % images], column] = 1
        start += count
    return labels


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
