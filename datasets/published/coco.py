"""Preparing COCO-MLT: annotations and the needed images alone, instead of the 18 GB archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...files import replacing
from ..download.archives import read_zip_member
from ..download.fetching import Download, address, fetch, fetch_all
from ..images.cache import ImageFile
from ..importing.annotations import AnnotatedImage, Annotations
from ..importing.coco_json import read_coco_json
from ..prepared.dataset_folder import Progress, SplitLabels, building
from .published_set import Place, PublishedSet, prepare_images

ANNOTATIONS = "annotations/annotations_trainval2017.zip"
FOLDERS = {"train": "train2017", "validation": "train2017", "test": "val2017"}
# The published construction dropped training images with a smaller side than this.
SMALLEST_SIDE = 32
LARGEST_IMAGE = 2**25


def prepare_coco(published: PublishedSet, place: Place, *, on_progress: Progress) -> tuple[Path, list[str]]:
    """Prepare COCO-MLT; return its folder and remarks.

    Raises `InputError` if files are missing, damaged or not the official ones; what was downloaded is kept.
    """
    with building(published.name, place.data_root):
        root = place.root or place.downloads / "coco"
        if place.root is None:
            _fetch_annotations(root, on_progress)
        images = {folder: _images(root, folder, published.classes) for folder in ("train2017", "val2017")}
        images["train2017"] = {
            key: image
            for key, image in images["train2017"].items()
            if min(image.shape or (SMALLEST_SIDE,)) >= SMALLEST_SIDE
        }
        train, test = (
            SplitLabels(
                ids=np.array(list(part)),
                labels=Annotations(images=tuple(part.values()), classes=published.classes).labels(),
            )
            for part in images.values()
        )

        def image(split: str, key: str) -> ImageFile:
            folder = FOLDERS[split]
            return ImageFile(id=key, path=str(root / folder / f"{int(key):012d}.jpg"), shape=images[folder][key].shape)

        return prepare_images(
            published,
            train,
            test,
            place,
            name=published.name,
            source="COCO 2017",
            tested_on="val2017",
            image=image,
            on_progress=on_progress,
            download=partial(_fetch_images, on_progress) if place.root is None else lambda files: None,
        )


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
        number = Path(image.file).stem
        if not number.isdecimal():
            raise InputError(f"{path}: the image {image.file!r:.80} is not called by its number, as in COCO 2017")
        images[str(int(number))] = image
    return images


def _fetch_images(on_progress: Progress, files: Mapping[str, Sequence[ImageFile]]) -> None:
    """Fetch what is not there; files are whole by their length, and by decoding with the promised shape later."""
    for split, images in files.items():
        downloads = [
            Download(
                url=address("coco", f"{FOLDERS[split]}/{Path(image.path).name}"),
                path=Path(image.path),
                most_bytes=LARGEST_IMAGE,
            )
            for image in images
        ]
        fetch_all(downloads, "images", on_progress=partial(on_progress, f"downloading {split}"))
