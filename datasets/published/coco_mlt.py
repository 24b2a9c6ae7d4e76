"""COCO-MLT: 1,909 images of COCO train2017, tested on val2017 (Sec. 4.1).

Crowd annotations count; boxes without area or with a side under 1 pixel do not. Annotations and the needed images alone
are downloaded, instead of the 18 GB archive.
"""

import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from ...errors import InputError
from ...files import replacing
from ..download.archives import read_zip_member
from ..download.fetching import Download, address, fetch, fetch_all
from ..images.cache import ImageFile
from ..importing.annotations import AnnotatedImage
from ..importing.coco_json import read_coco_json
from ..prepared.dataset_folder import Progress, building
from .published_set import Place, PublishedSet, prepare_images, register_published

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
ANNOTATIONS = "annotations/annotations_trainval2017.zip"
FOLDERS = {"train": "train2017", "validation": "train2017", "test": "val2017"}
# The published construction dropped training images with a smaller side than this.
SMALLEST_SIDE = 32
LARGEST_IMAGE = 2**25


def generator_after_voc() -> random.Random:
    """The generator of seed 0 after the 32-bit outputs that the construction of VOC-MLT took."""
    generator = random.Random(0)
    for _ in range(OUTPUTS_BEFORE):
        generator.getrandbits(32)
    return generator


COCO_MLT = PublishedSet(
    name="coco-mlt", classes=CLASSES, largest=1200, generator=generator_after_voc, validation=5000,
    list_digest="b2fec8ea5085da2dc305e2f1224eed7365151058a34d26f2ca340f582ff55f4c",
    digests={
        "train": "baae302e224b37160da1f5996025c7f5418a5af7ce723333604b92ec15d29b9d",
        "test": "ca127a05613a5df4d29e819291ccd78ce50d9e380e4fc758c49202a744c0f213",
    },
    list_path="coco/longtail2017/img_id.pkl",
    list_file_digest="f31e853d2c7b69512c62b65ff1db067a49b3ab86a62f685c7da86b7c3dd04768",
)  # fmt: skip

register_published(
    "coco-mlt",
    "1,909 images of 80 classes, tested on val2017",
    "COCO train2017 and val2017, needed images alone (1.1 GB); list of Wu et al. 2020",
)


def prepare_coco(published: PublishedSet, place: Place) -> tuple[Path, list[str]]:
    """Prepare COCO-MLT from the official files; return its folder and remarks."""
    with building(published.name, place.data_root):
        root = place.root or place.downloads / "coco"
        if place.root is None:
            _fetch_annotations(root, place.on_progress)
        images = {folder: _images(root, folder, published.classes) for folder in ("train2017", "val2017")}
        download = partial(_fetch_images, place.on_progress) if place.root is None else lambda files: None
        return prepare_images(
            published, images["train2017"], images["val2017"], place, name=published.name, source="COCO 2017",
            tested_on="val2017", path=lambda split, key: root / FOLDERS[split] / f"{int(key):012d}.jpg",
            download=download,
        )  # fmt: skip


def _fetch_annotations(root: Path, on_progress: Progress) -> None:
    wanted = [f"annotations/instances_{folder}.json" for folder in ("train2017", "val2017")]
    if all((root / member).is_file() for member in wanted):
        return
    archive = root / Path(ANNOTATIONS).name
    download = Download(url=address("coco", ANNOTATIONS), path=archive, most_bytes=2**30)
    fetch(download, on_progress=partial(on_progress, "downloading annotations"))
    for member in wanted:
        data = read_zip_member(archive, member)
        with replacing(root / member) as file:
            file.write(data)


def _images(root: Path, folder: str, classes: Sequence[str]) -> dict[str, AnnotatedImage]:
    path = root / "annotations" / f"instances_{folder}.json"
    if not path.is_file():
        raise InputError(f"no {path}; --root is the folder with annotations/, train2017/ and val2017/")
    found = read_coco_json(path)
    if found.classes != tuple(classes):
        raise InputError(f"{path} has other categories than COCO's {len(classes)}")
    images = {}
    for image in found.images:
        if folder == "train2017" and image.shape and min(image.shape) < SMALLEST_SIDE:
            continue
        if not (number := Path(image.file).stem).isdecimal():
            raise InputError(f"{path}: the image {image.file!r:.80} is not called by its number, as in COCO 2017")
        images[str(int(number))] = image
    return images


def _fetch_images(on_progress: Progress, files: Mapping[str, Sequence[ImageFile]]) -> None:
    """Fetch what is not there; files are whole by their length, and by decoding with the promised shape later."""
    for split, images in files.items():
        downloads = []
        for path in (Path(image.path) for image in images):
            url = address("coco", f"{FOLDERS[split]}/{path.name}")
            downloads.append(Download(url=url, path=path, most_bytes=LARGEST_IMAGE))
        fetch_all(downloads, "images", on_progress=partial(on_progress, f"downloading {split}"))
