"""Digits-MLT: real handwritten digits composed into scenes, made long-tailed as VOC-MLT and COCO-MLT were.

20 classes are 10 digits x 2 inks. Label sets are drawn first, with long-tailed popularity; frequent classes therefore
join most scenes of rare ones. From a pool of them the Pareto head-to-tail construction of the paper picks the training
scenes; validation and test keep the pool's distribution, as VOC2007 keeps VOC2012's. Digit images are disjoint between
the splits. Generated in seconds from one seed, checked by digest, kept under the data root.

Its variants have the same pool, validation and test scenes, and training sets with a shorter tail: the construction's
smallest class is raised. The study `imbalance` shows with them what every method does as the tail gets longer, from 7
times as many images in the largest class as in the smallest to the 147 times of Digits-MLT itself.
"""

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
from ..prepared.dataset_folder import building
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
# Of the variants, ratio of largest to smallest training class, rounded down: the smallest class asked for, and the
# digest of the training split.
RATIOS: dict[int, tuple[int, str]] = {
    7: (157, "d4363607e6890341b3b2b4946ff2d0bdab275a8c606ba3f9d3662b7da477017b"),
    12: (77, "e10fb096028b40c450de840c74dc45ac5f5aa27e4f55b19659ede066459f3fdc"),
    20: (37, "2360389b32b72a5c0b30eed2b9784e029db95e42ef96df845cfe09dcbb2439a7"),
    42: (13, "722f23776fcca5d2f56d9f7193996e1af31b61a4e65e75b45011fe27c48ed62a"),
    74: (5, "75b6831192213b0e640603750d0946068031e78a91ebdf9e90eded102e96cac1"),
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
    if name == "train":
        labels = long_tailed_labels(smallest=smallest)
    else:
        labels = draw_label_sets(SPLIT_SIZES[name], RandomState(SEED + offset))
    glyphs, values = split_digits(SEED)[name]
    generator = RandomState(SEED + 10 * offset)
    digits = [[(int(c) % 10, CLASSES[c].split()[0]) for c in np.flatnonzero(row)] for row in labels]
    images = np.stack([render_scene(drawn, glyphs, values, generator) for drawn in digits])
    ids = np.array([f"{name}-{i:05d}" for i in range(len(labels))])
    return Split(images=images, labels=labels, ids=ids)


def kept_or_generated(folder: Path, name: str, digest: str, *, smallest: int = 1) -> Split:
    """Read a split from a dataset's folder; one that is not there yet is generated and kept, by one process.

    Raises `InputError` if the generated split has another digest, or cannot be written.
    """
    if (path := folder / f"{name}.npz").exists():
        return read_split(path)
    with building(folder.name, folder.parent):
        if path.exists():
            return read_split(path)
        split = generate_split(name, smallest=smallest)
        if split.digest != digest:
            cause = "scikit-learn's digits or NumPy's RandomState differ from the recorded ones"
            found = f"the generated {name} split has digest {split.digest}, expected {digest}"
            raise InputError(f"{folder.name}: {found}; {cause}")
        write_split(split, path)
    return split


def variant_name(ratio: int) -> str:
    """Public name of the variant of a ratio."""
    return f"digits-mlt-{ratio}to1"


def open_digits_mlt(data_root: Path, *, ratio: int | None = None) -> Dataset:
    """Open Digits-MLT or a variant; a split that is not under `data_root` yet is generated and kept there."""
    folder = data_root / "digits-mlt"
    openers = {name: partial(kept_or_generated, folder, name, digest) for name, digest in DIGESTS.items()}
    if ratio is None:
        return Dataset(name="digits-mlt", classes=CLASSES, digests=DIGESTS, openers=openers)
    name, (smallest, digest) = variant_name(ratio), RATIOS[ratio]
    openers["train"] = partial(kept_or_generated, data_root / name, "train", digest, smallest=smallest)
    return Dataset(name=name, classes=CLASSES, digests={**DIGESTS, "train": digest}, openers=openers)


def _register(name: str, summary: str, source: str, ratio: int | None = None) -> None:
    opened, fitting = partial(open_digits_mlt, ratio=ratio), {"recipe": "digits", "backbone": "digits-resnet"}
    entry = DatasetEntry(name=name, summary=summary, source=source, open=opened, weights=None, **fitting)
    register_dataset(entry)


_register(
    "digits-mlt",
    "scenes of real handwritten digits in two inks, long-tailed by the paper's construction; no download",
    "scikit-learn's digits (UCI ML, 1998); construction of Sec. 4.1",
)
for _ratio in RATIOS:
    _about = f"digits-mlt with a shorter tail: its largest class has {_ratio} times the images of its smallest"
    _register(variant_name(_ratio), _about, "as digits-mlt", _ratio)
