"""Preparing COCO-MLT: annotations and the needed images alone, instead of the 18 GB archive."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ...errors import InputError
from ..download.addresses import address
from ..download.archives import read_zip_member
from ..download.fetching import Download, describe_failures, fetch, fetch_all
from ..images.cache import ImageFile
from ..importing.annotations import AnnotatedImage, Annotations
from ..importing.coco_json import read_coco_json
from ..prepared.dataset_folder import SplitLabels
from ..prepared.making import making_dataset
from ..prepared.split_images import Progress
from .definition import LabelSource, PublishedSet, define_splits
from .preparing import Place, decode_images, published_list, write_labels

ANNOTATIONS = "annotations/annotations_trainval2017.zip"
FOLDERS = {"train": "train2017", "validation": "train2017", "test": "val2017"}
# The published construction dropped training images with a smaller side than this.
SMALLEST_SIDE = 32
CONNECTIONS = 8
LARGEST_IMAGE = 2**25


def prepare_coco(published: PublishedSet, place: Place, *, on_progress: Progress) -> tuple[Path, list[str]]:
    """Prepare COCO-MLT; return its folder and remarks.

    Args:
        published: the set.
        place: where from and where to.
        on_progress: told what is done, how much more of it, and how much there is.

    Raises:
        InputError: if files are missing, damaged or not the official ones; what was got is kept.
    """
    with making_dataset(published.name, place.data_root):
        return _prepare(published, place, on_progress)


def _prepare(published: PublishedSet, place: Place, on_progress: Progress) -> tuple[Path, list[str]]:
    root = place.root or place.downloads / "coco"
    if place.root is None:
        _fetch_annotations(root, on_progress)
    train = _images(root, "train2017", published.classes)
    test = _images(root, "val2017", published.classes)
    large = {key: image for key, image in train.items() if min(image.shape or (SMALLEST_SIDE,)) >= SMALLEST_SIDE}
    listed, remarks = published_list(published, place)
    splits, more = define_splits(published, _labels(large, test, published.classes), listed)
    summary = f"{len(splits['train'].ids):,} images of {len(published.classes)} classes, tested on val2017"
    folder = write_labels(published.name, published, splits, place, summary=summary, source="COCO 2017")
    files = {name: _files(root, name, splits[name], test if name == "test" else large) for name in place.splits}
    if place.root is None:
        _fetch_images(files, on_progress)
    about_images = decode_images(folder, files, place, on_progress=on_progress)
    return folder, [*remarks, *more, *about_images]


def _fetch_annotations(root: Path, on_progress: Progress) -> None:
    wanted = [f"annotations/instances_{folder}.json" for folder in ("train2017", "val2017")]
    if all((root / member).is_file() for member in wanted):
        return
    archive = root / Path(ANNOTATIONS).name
    download = Download(url=address("coco", ANNOTATIONS), path=archive, most_bytes=2**30)
    fetch(download, on_progress=partial(on_progress, "downloading annotations"))
    for member in wanted:
        data = read_zip_member(archive, member)
        path = root / member
        aside = path.with_name(f"{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(data)
            aside.replace(path)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror or error}; free some space") from error


def _images(root: Path, folder: str, classes: Sequence[str]) -> dict[str, AnnotatedImage]:
    path = root / "annotations" / f"instances_{folder}.json"
    if not path.is_file():
        raise InputError(f"no {path}; --root is the folder with annotations/, train2017/ and val2017/")
    found = read_coco_json(path)
    if found.classes != tuple(classes):
        raise InputError(f"{path} has other categories than COCO's {len(classes)}")
    images = {}
    for image in found.images:
        stem = Path(image.file).stem
        if not stem.isdecimal():
            raise InputError(f"{path}: the image {image.file!r:.80} is not called by its number, as in COCO 2017")
        images[str(int(stem))] = image
    return images


def _labels(train: dict[str, AnnotatedImage], test: dict[str, AnnotatedImage], classes: Sequence[str]) -> LabelSource:
    matrices = [Annotations(images=tuple(part.values()), classes=tuple(classes)).labels() for part in (train, test)]
    return LabelSource(
        train_ids=list(train), train_labels=matrices[0], test_ids=list(test), test_labels=matrices[1], whole=True
    )


def _files(root: Path, split: str, labels: SplitLabels, images: dict[str, AnnotatedImage]) -> list[ImageFile]:
    folder = root / FOLDERS[split]
    names = labels.ids.tolist()
    return [ImageFile(id=i, path=str(folder / f"{int(i):012d}.jpg"), shape=images[i].shape) for i in names]


def _fetch_images(files: dict[str, list[ImageFile]], on_progress: Progress) -> None:
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
        total = len(downloads)

        def tell(more: int, split: str = split, total: int = total) -> None:
            on_progress(f"downloading {split}", more, total)

        failed = fetch_all(downloads, at_once=CONNECTIONS, on_progress=tell)
        if failed:
            raise InputError(
                f"{len(failed)} of {total} images could not be downloaded:\n{describe_failures(failed)}\n"
                "the others are kept; give the same command again"
            )
