"""COCO-MLT: 1,909 images of COCO train2017, tested on val2017 (Sec. 4.1).

Crowd annotations count; boxes without area or with a side under 1 pixel do not.
"""

from __future__ import annotations

import random
from functools import partial

from ..published.published_set import PublishedSet, open_published
from ..registry import DatasetEntry, register_dataset

CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed",
    "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven",
    "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
# The authors built COCO-MLT after VOC-MLT in one process; this is what VOC-MLT had drawn from the generator by then.
OUTPUTS_BEFORE = 3481


def generator_after_voc() -> random.Random:
    """The generator of seed 0 after the 32-bit outputs that the construction of VOC-MLT took."""
    generator = random.Random(0)
    for _ in range(OUTPUTS_BEFORE):
        generator.getrandbits(32)
    return generator


COCO_MLT = PublishedSet(
    name="coco-mlt",
    classes=CLASSES,
    largest=1200,
    generator=generator_after_voc,
    list_digest="b2fec8ea5085da2dc305e2f1224eed7365151058a34d26f2ca340f582ff55f4c",
    validation=5000,
    digests={
        "train": "baae302e224b37160da1f5996025c7f5418a5af7ce723333604b92ec15d29b9d",
        "test": "ca127a05613a5df4d29e819291ccd78ce50d9e380e4fc758c49202a744c0f213",
    },
    list_path="coco/longtail2017/img_id.pkl",
    list_file_digest="f31e853d2c7b69512c62b65ff1db067a49b3ab86a62f685c7da86b7c3dd04768",
)

register_dataset(
    DatasetEntry(
        name="coco-mlt",
        summary="1,909 images of 80 classes, tested on val2017",
        source="COCO train2017 and val2017, needed images alone (1.1 GB); list of Wu et al. 2020",
        open=partial(open_published, "coco-mlt"),
        recipe="paper",
        backbone="resnet50",
    )
)
