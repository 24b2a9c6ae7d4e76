"""Digits-MLT with a shorter tail: the same pool, validation and test scenes, other training sets.

The construction's smallest class is raised, which shortens the tail. Made for the study `imbalance`: what every method
does as the tail gets longer, from 7 times as many images in the largest class as in the smallest to the 147 times of
Digits-MLT itself.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..dataset import Dataset
from ..registry import DatasetEntry, register_dataset
from .digits_mlt import CLASSES, DIGESTS, kept_or_generated, open_digits_mlt

# Ratio of largest to smallest training class, rounded down: smallest class asked for, and digest of the training split.
RATIOS: dict[int, tuple[int, str]] = {
    7: (157, "d4363607e6890341b3b2b4946ff2d0bdab275a8c606ba3f9d3662b7da477017b"),
    12: (77, "e10fb096028b40c450de840c74dc45ac5f5aa27e4f55b19659ede066459f3fdc"),
    20: (37, "2360389b32b72a5c0b30eed2b9784e029db95e42ef96df845cfe09dcbb2439a7"),
    42: (13, "722f23776fcca5d2f56d9f7193996e1af31b61a4e65e75b45011fe27c48ed62a"),
    74: (5, "75b6831192213b0e640603750d0946068031e78a91ebdf9e90eded102e96cac1"),
}


def variant_name(ratio: int) -> str:
    """Public name of the variant of a ratio."""
    return f"digits-mlt-{ratio}to1"


def open_variant(data_root: Path, *, ratio: int) -> Dataset:
    """Open a variant; its training split is generated when it is not under `data_root` yet."""
    smallest, digest = RATIOS[ratio]
    name = variant_name(ratio)
    base = open_digits_mlt(data_root)
    open_train = partial(kept_or_generated, data_root / name, "train", digest, smallest=smallest)
    return Dataset(
        name=name,
        classes=CLASSES,
        digests={**DIGESTS, "train": digest},
        openers={**base.openers, "train": open_train},
    )


for _ratio in RATIOS:
    register_dataset(
        DatasetEntry(
            name=variant_name(_ratio),
            summary=f"digits-mlt with a shorter tail: its largest class has {_ratio} times the images of its smallest",
            source="as digits-mlt",
            open=partial(open_variant, ratio=_ratio),
            recipe="digits",
            backbone="digits-resnet",
        )
    )
