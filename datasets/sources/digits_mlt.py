"""Digits-MLT: real handwritten digits composed into scenes, made long-tailed as VOC-MLT and COCO-MLT were.

20 classes are 10 digits x 2 inks. Label sets are drawn first, with long-tailed popularity; frequent classes therefore
join most scenes of rare ones. From a pool of them the Pareto head-to-tail construction of the paper picks the training
scenes; validation and test keep the pool's distribution, as VOC2007 keeps VOC2012's. Digit images are disjoint between
the splits. Generated in seconds from one seed, checked by digest, cached under the data root.
"""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from ...errors import InputError
from ..dataset import Dataset, Split
from ..long_tail.selection import pareto_targets, select_head_to_tail
from ..prepared.array_files import read_split, write_split
from ..registry import DatasetEntry, register_dataset
from .digit_scenes import render_scene, split_digits

SEED = 2020
CLASSES = tuple(f"{ink} {digit}" for ink in ("red", "blue") for digit in range(10))
POOL_SIZE = 9000
LARGEST_CLASS = 800
SPLIT_SIZES = {"validation": 1000, "test": 2000}
# A class of popularity rank k weighs 1000 * .86**k: the most frequent about 17 times the rarest, as in VOC2012 (person
# 17 times sheep), before the construction makes the tail longer.
POPULARITY = tuple(int(1000 * 0.86**rank) for rank in range(len(CLASSES)))
# Digits per scene, drawn uniformly from this list: 2.2 on average.
DIGITS_PER_SCENE = (1, 1, 2, 2, 2, 2, 3, 3, 4)

DIGESTS = {
    "train": "1b7c054b69fcf38c5e09531dfdbb27c456071a2cb17d021bf6491d89c0f16de1",
    "validation": "41802ce6eb01bd88d5b034b5e290b5a113f5a308fb93f66b94650ffb0d7e96f5",
    "test": "c35a07dbb7a27e3a1ba0364c22df525ba427eae26ec96d408a9ee6be7c6376e5",
}


def draw_label_sets(number: int, generator: RandomState) -> NDArray[np.uint8]:
    """Draw label rows `(number, 20)` with long-tailed popularity; the order of popularity mixes inks and digits."""
    by_rank = RandomState(SEED).permutation(len(CLASSES))
    ends = np.cumsum(POPULARITY)
    labels = np.zeros((number, len(CLASSES)), dtype=np.uint8)
    for row in labels:
        wanted = DIGITS_PER_SCENE[int(generator.randint(0, len(DIGITS_PER_SCENE), dtype=np.int64))]
        while row.sum() < wanted:
            ticket = int(generator.randint(0, ends[-1], dtype=np.int64))
            row[by_rank[np.searchsorted(ends, ticket, side="right")]] = 1
    return labels


def long_tailed_labels(largest: int = LARGEST_CLASS, smallest: int = 1) -> NDArray[np.uint8]:
    """Training label rows: the pool of label sets after the Pareto head-to-tail construction."""
    pool = draw_label_sets(POOL_SIZE, RandomState(SEED + 1))
    targets = pareto_targets(len(CLASSES), largest=largest, smallest=smallest)
    return pool[select_head_to_tail(pool, targets, random.Random(SEED), order=sorted)]


def generate_split(name: str, *, smallest: int = 1) -> Split:
    """Render one split: `train` (whose classes the construction cuts to at least `smallest`), `validation`, `test`."""
    offset = {"train": 2, "validation": 3, "test": 4}[name]
    labels = (
        long_tailed_labels(smallest=smallest)
        if name == "train"
        else draw_label_sets(SPLIT_SIZES[name], RandomState(SEED + offset))
    )
    glyphs, values = split_digits(SEED)[name]
    generator = RandomState(SEED + 10 * offset)
    images = np.stack(
        [
            render_scene([(int(c) % 10, CLASSES[c].split()[0]) for c in np.flatnonzero(row)], glyphs, values, generator)
            for row in labels
        ]
    )
    ids = np.array([f"{name}-{i:05d}" for i in range(len(labels))])
    return Split(images=images, labels=labels, ids=ids)


def kept_or_generated(folder: Path, name: str, digest: str, *, smallest: int = 1) -> Split:
    """Read a split from a dataset's folder; one that is not there yet is generated and kept.

    Raises:
        InputError: if the generated split has another digest, or cannot be written.
    """
    path = folder / f"{name}.npz"
    if path.exists():
        return read_split(path)
    split = generate_split(name, smallest=smallest)
    if split.digest != digest:
        raise InputError(
            f"{folder.name}: the generated {name} split has digest {split.digest}, expected {digest}; "
            "scikit-learn's digits or NumPy's RandomState differ from the recorded ones"
        )
    write_split(split, path)
    return split


def open_digits_mlt(data_root: Path) -> Dataset:
    """Open Digits-MLT; a split that is not under `data_root` yet is generated and kept there."""
    folder = data_root / "digits-mlt"
    openers = {name: partial(kept_or_generated, folder, name, digest) for name, digest in DIGESTS.items()}
    return Dataset(name="digits-mlt", classes=CLASSES, digests=DIGESTS, openers=openers)


register_dataset(
    DatasetEntry(
        name="digits-mlt",
        summary="scenes of real handwritten digits in two inks, long-tailed by the paper's construction; no download",
        source="scikit-learn's digits (UCI ML, 1998); construction of Sec. 4.1",
        open=open_digits_mlt,
        recipe="digits",
        backbone="digits-resnet",
    )
)
