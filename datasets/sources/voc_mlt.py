"""VOC-MLT: 1,142 images of VOC2012 train-val, tested on VOC2007 test (Sec. 4.1).

Objects marked difficult count as positives, as in the published code; `voc-mlt-nodifficult` leaves them out.
"""

from __future__ import annotations

import random
from functools import partial

from ..published.published_set import PublishedSet, open_published
from ..registry import DatasetEntry, register_dataset

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

VOC_MLT = PublishedSet(
    name="voc-mlt",
    classes=CLASSES,
    largest=800,
    generator=partial(random.Random, 0),
    list_digest="6fa70d5b693700d97657acd03b18b4d198aa59795dc99828db2c21a2abf2133f",
    validation=2000,
    digests={
        "train": "5951f1dbefcfb473c0dd9b285f03ffea7552112c8be9eae9e58b37fc4981f002",
        "validation": "4f91b3da02d2da3cf80fc9f84d8cb677a7509afcf5fc96fd1303ef655b189e95",
        "test": "ff36f7f811a2a97ca904b40b6b4dbc48fc1ecfc06e9f864776d22a7b2a53e2f1",
    },
    list_path="VOCdevkit/longtail2012/img_id.txt",
    list_file_digest="6e49185d5421236718f7393e952f5790e5c0cfeb1694892b1b971f59725d5ebc",
)


for name, summary in (
    ("voc-mlt", "1,142 images of 20 classes, tested on VOC2007; difficult objects count"),
    ("voc-mlt-nodifficult", "the same images; objects marked difficult do not count"),
):
    register_dataset(
        DatasetEntry(
            name=name,
            summary=summary,
            source="VOC2012 train-val and VOC2007 test (2.4 GB); list of Wu et al. 2020",
            open=partial(open_published, name),
            recipe="paper",
            backbone="resnet50",
        )
    )
