"""VOC-MLT: 1,142 images of VOC2012 train-val, tested on VOC2007 test (Sec. 4.1), from archives or folders.

Objects marked difficult count as positives, as in the published code; `voc-mlt-nodifficult` leaves them out.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ...errors import InputError
from ...files import locked
from ..download.archives import extract_tar
from ..download.fetching import Download, address, fetch
from ..importing.annotations import AnnotatedImage
from ..importing.voc_xml import read_image_set, read_voc_file
from ..prepared.dataset_folder import SplitLabels, building
from .published_set import Place, PublishedSet, labels_of, prepare_images, register_published

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
# Addresses below the official site, and the MD5 sums that torchvision pins.
ARCHIVES = {
    "VOC2012": ("voc2012/VOCtrainval_11-May-2012.tar", "6cd6e144f989b92b3379bac3b3de84fd"),
    "VOC2007": ("voc2007/VOCtest_06-Nov-2007.tar", "b6e924de25625d8de591ea690078ad9f"),
}
YEARS = {"train": "VOC2012", "validation": "VOC2012", "test": "VOC2007"}
IMAGE_SETS = {"VOC2012": "trainval", "VOC2007": "test"}
NEEDED = ("JPEGImages", "Annotations", "ImageSets/Main")

VOC_MLT = PublishedSet(
    name="voc-mlt", classes=CLASSES, largest=800, generator=partial(random.Random, 0), validation=2000,
    list_digest="6fa70d5b693700d97657acd03b18b4d198aa59795dc99828db2c21a2abf2133f",
    digests={
        "train": "5951f1dbefcfb473c0dd9b285f03ffea7552112c8be9eae9e58b37fc4981f002",
        "validation": "4f91b3da02d2da3cf80fc9f84d8cb677a7509afcf5fc96fd1303ef655b189e95",
        "test": "ff36f7f811a2a97ca904b40b6b4dbc48fc1ecfc06e9f864776d22a7b2a53e2f1",
    },
    list_path="VOCdevkit/longtail2012/img_id.txt",
    list_file_digest="6e49185d5421236718f7393e952f5790e5c0cfeb1694892b1b971f59725d5ebc",
)  # fmt: skip

SOURCE = "VOC2012 train-val and VOC2007 test (2.4 GB); list of Wu et al. 2020"
register_published("voc-mlt", "1,142 images of 20 classes, tested on VOC2007; difficult objects count", SOURCE)
register_published("voc-mlt-nodifficult", "the same images; objects marked difficult do not count", SOURCE)


def prepare_voc(
    published: PublishedSet,
    place: Place,
    *,
    difficult: bool = True,  # whether objects marked difficult count as positives
    archives: Mapping[str, tuple[str, str]] = ARCHIVES,  # path and MD5 of each year's archive
) -> tuple[Path, list[str]]:
    """Prepare VOC-MLT, or its variant without difficult objects, from the official files; return folder and remarks."""
    name = published.name if difficult else f"{published.name}-nodifficult"
    with building(name, place.data_root):
        folders = _on_disk(place.root) if place.root else _downloaded(place, archives)
        years = {year: read_year(folder, IMAGE_SETS[year], published.classes) for year, folder in folders.items()}

        def without_difficult(splits: dict[str, SplitLabels]) -> dict[str, SplitLabels]:
            changed = {}
            for split, found in splits.items():
                images = {key: years[YEARS[split]][key] for key in found.ids.tolist()}
                sure = {key: replace(image, classes=image.classes - image.difficult) for key, image in images.items()}
                labels = labels_of(sure, published.classes).labels
                # The re-balanced losses divide by a sum over an image's labels: a training image needs one.
                kept = labels.any(axis=1) | (split != "train")
                changed[split] = SplitLabels(ids=found.ids[kept], labels=labels[kept])
            return changed

        return prepare_images(
            published, years["VOC2012"], years["VOC2007"], place, name=name, source="VOC2012 and VOC2007",
            tested_on="VOC2007", path=lambda split, key: folders[YEARS[split]] / "JPEGImages" / f"{key}.jpg",
            change=(lambda splits: splits) if difficult else without_difficult,
        )  # fmt: skip


def read_year(folder: Path, image_set: str, classes: Sequence[str]) -> dict[str, AnnotatedImage]:
    """Images of one year's image set by id, from its XML files; raises `InputError` if one is missing or wrong."""
    images = {}
    for name in read_image_set(folder / "ImageSets" / "Main" / f"{image_set}.txt"):
        images[name] = read_voc_file(folder / "Annotations" / f"{Path(name).name}.xml")
        if unknown := images[name].classes - set(classes):
            raise InputError(f"{folder}: {name}.xml names {min(unknown)!r}, which is no class of VOC")
    return images


def _on_disk(root: Path) -> dict[str, Path]:
    places = [root, root / "VOCdevkit", root / "TrainVal" / "VOCdevkit"]
    found = {year: place / year for year in ARCHIVES for place in reversed(places) if (place / year).is_dir()}
    if lacking := [year for year in ARCHIVES if year not in found]:
        layout = f"{root}/VOCdevkit/VOC2012 and VOC2007 with JPEGImages, Annotations and ImageSets/Main"
        raise InputError(f"--root {str(root)!r} holds no {' and no '.join(lacking)}; expected {layout}")
    return found


def _downloaded(place: Place, archives: Mapping[str, tuple[str, str]]) -> dict[str, Path]:
    found = {}
    for year, (path, md5) in archives.items():
        target = place.downloads / "voc" / year
        # Both variants are built from the same archives.
        with locked(target.with_name(f".{year}.lock"), f"extracting {year}"):
            if not target.exists():
                archive = target.with_name(Path(path).name)
                download = Download(url=address("voc", path), path=archive, algorithm="md5", digest=md5)
                fetch(download, on_progress=partial(place.on_progress, f"downloading {year}"))
                extracting = partial(place.on_progress, f"extracting {year}")
                extract_tar(archive, target, wanted=NEEDED, on_progress=extracting)
        found[year] = target / "VOCdevkit" / year
        if not found[year].is_dir():
            raise InputError(f"{target} holds no VOCdevkit/{year}; delete it, it will be extracted again")
    return found
