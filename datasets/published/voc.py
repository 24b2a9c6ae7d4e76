"""Preparing VOC-MLT: archives or folders of VOC2012 and VOC2007 become labels, splits and decoded images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...files import alone
from ..download.addresses import address
from ..download.archives import extract_tar
from ..download.fetching import Download, fetch
from ..images.cache import ImageFile
from ..importing.voc_xml import read_image_set, read_voc_file
from ..prepared.dataset_folder import SplitLabels
from ..prepared.making import making_dataset
from ..prepared.split_images import Progress
from .definition import LabelSource, PublishedSet, define_splits
from .preparing import Place, decode_images, published_list, write_labels

# Addresses below the official site, and the MD5 sums that torchvision pins.
ARCHIVES = {
    "VOC2012": ("voc2012/VOCtrainval_11-May-2012.tar", "6cd6e144f989b92b3379bac3b3de84fd"),
    "VOC2007": ("voc2007/VOCtest_06-Nov-2007.tar", "b6e924de25625d8de591ea690078ad9f"),
}
IMAGE_SETS = {"VOC2012": "trainval", "VOC2007": "test"}
NEEDED = ("JPEGImages/", "Annotations/", "ImageSets/Main/")


@dataclass(eq=False, kw_only=True)
class VocYear:
    """The images of one year's image set.

    Attributes:
        folder: such as `VOCdevkit/VOC2012`.
        ids: in the image set's order.
        labels: `(N, C)`, difficult objects included.
        sure: `(N, C)` without difficult objects.
        shapes: width and height of each image.
    """

    folder: Path
    ids: list[str]
    labels: NDArray[np.uint8]
    sure: NDArray[np.uint8]
    shapes: dict[str, tuple[int, int] | None] = field(default_factory=dict)


def prepare_voc(
    published: PublishedSet,
    place: Place,
    *,
    difficult: bool = True,
    archives: Mapping[str, tuple[str, str]] = ARCHIVES,
    on_progress: Progress,
) -> tuple[Path, list[str]]:
    """Prepare VOC-MLT, or its variant without difficult objects; return its folder and remarks.

    Args:
        published: the set.
        place: where from and where to.
        difficult: whether objects marked difficult count as positives.
        archives: path and MD5 of each year's archive.
        on_progress: told what is done, how much more of it, and how much there is.

    Raises:
        InputError: if files are missing, damaged or not the official ones.
    """
    name = published.name if difficult else f"{published.name}-nodifficult"
    with making_dataset(name, place.data_root):
        return _prepare(name, published, place, difficult, archives, on_progress)


def _prepare(
    name: str,
    published: PublishedSet,
    place: Place,
    difficult: bool,
    archives: Mapping[str, tuple[str, str]],
    on_progress: Progress,
) -> tuple[Path, list[str]]:
    folders = _on_disk(place.root) if place.root else _downloaded(place, archives, on_progress)
    years = {year: read_year(folder, IMAGE_SETS[year], published.classes) for year, folder in folders.items()}
    listed, remarks = published_list(published, place)
    train, test = years["VOC2012"], years["VOC2007"]
    source = LabelSource(
        train_ids=train.ids, train_labels=train.labels, test_ids=test.ids, test_labels=test.labels, whole=True
    )
    splits, more = define_splits(published, source, listed)
    if not difficult:
        splits = {split: _without_difficult(split, found, years) for split, found in splits.items()}
    summary = f"{len(splits['train'].ids):,} images of {len(published.classes)} classes, tested on VOC2007"
    folder = write_labels(name, published, splits, place, summary=summary, source="VOC2012 and VOC2007")
    files = {split: _files(test if split == "test" else train, splits[split].ids.tolist()) for split in place.splits}
    about_images = decode_images(folder, files, place, on_progress=on_progress)
    return folder, [*remarks, *more, *about_images]


def read_year(folder: Path, image_set: str, classes: Sequence[str]) -> VocYear:
    """Labels of one year's image set from its XML files.

    Raises:
        InputError: if a file is missing or names another class.
    """
    ids = read_image_set(folder / "ImageSets" / "Main" / f"{image_set}.txt")
    column = {name: i for i, name in enumerate(classes)}
    shape = len(ids), len(classes)
    year = VocYear(folder=folder, ids=ids, labels=np.zeros(shape, np.uint8), sure=np.zeros(shape, np.uint8))
    for row, name in enumerate(ids):
        image = read_voc_file(folder / "Annotations" / f"{Path(name).name}.xml")
        unknown = (image.sure | image.difficult) - set(classes)
        if unknown:
            raise InputError(f"{folder}: {name}.xml names {min(unknown)!r}, which is no class of VOC")
        year.sure[row, [column[c] for c in image.sure]] = 1
        year.labels[row, [column[c] for c in image.sure | image.difficult]] = 1
        year.shapes[name] = image.shape
    return year


def _on_disk(root: Path) -> dict[str, Path]:
    places = [root, root / "VOCdevkit", root / "TrainVal" / "VOCdevkit"]
    found = {year: next((p / year for p in places if (p / year).is_dir()), None) for year in ARCHIVES}
    lacking = [year for year, folder in found.items() if folder is None]
    if lacking:
        raise InputError(
            f"--root {str(root)!r} holds no {' and no '.join(lacking)}; expected {root}/VOCdevkit/VOC2012 and VOC2007 "
            "with JPEGImages, Annotations and ImageSets/Main"
        )
    return {year: folder for year, folder in found.items() if folder is not None}


def _downloaded(place: Place, archives: Mapping[str, tuple[str, str]], on_progress: Progress) -> dict[str, Path]:
    found = {}
    for year, (path, md5) in archives.items():
        target = place.downloads / "voc" / year
        # Both variants are made of the same archives.
        with alone(target.with_name(f".{year}.lock"), f"extracting {year}"):
            if not target.exists():
                archive = target.with_name(Path(path).name)
                download = Download(url=address("voc", path), path=archive, algorithm="md5", digest=md5)
                fetch(download, on_progress=partial(on_progress, f"downloading {year}"))
                extract_tar(
                    archive,
                    target,
                    wanted=lambda member: any(f"/{part}" in member for part in NEEDED),
                    on_progress=partial(on_progress, f"extracting {year}"),
                )
        found[year] = target / "VOCdevkit" / year
        if not found[year].is_dir():
            raise InputError(f"{target} holds no VOCdevkit/{year}; delete it, it will be extracted again")
    return found


def _without_difficult(split: str, found: SplitLabels, years: Mapping[str, VocYear]) -> SplitLabels:
    year = years["VOC2007" if split == "test" else "VOC2012"]
    row = {name: i for i, name in enumerate(year.ids)}
    labels = year.sure[[row[name] for name in found.ids.tolist()]]
    # The re-balanced losses divide by a sum over an image's labels: a training image needs one.
    kept = labels.any(axis=1) if split == "train" else np.ones(len(labels), dtype=bool)
    return SplitLabels(ids=found.ids[kept], labels=labels[kept])


def _files(year: VocYear, ids: Sequence[str]) -> list[ImageFile]:
    images = year.folder / "JPEGImages"
    return [ImageFile(id=name, path=str(images / f"{name}.jpg"), shape=year.shapes[name]) for name in ids]
