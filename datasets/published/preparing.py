"""From the labels of a published set to a folder with labels and decoded images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import InputError, unknown_name
from ..download.addresses import address
from ..download.fetching import Download, fetch, file_digest
from ..images.cache import ImageFile
from ..prepared.array_files import DAMAGE
from ..prepared.dataset_folder import DOWNLOADS, SIDES, Manifest, SplitLabels, read_manifest, write_prepared
from ..prepared.making import making_dataset
from ..prepared.split_images import Progress, decode_splits, describe_reports
from .definition import PublishedSet, define_splits, labels_of_file

LONGEST_LIST = 2**20
UNUSABLE = (
    "They are of the official release: replace or delete them and give the same command again; what was decoded is kept"
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a published set is prepared, and how.

    Attributes:
        data_root: where datasets are kept; downloads lie in its folder `downloads`.
        root: folder with the official files, or None to download them.
        splits: whose images are wanted.
        workers: processes that decode.
        list_file: the published list, or None to download it.
    """

    data_root: Path
    root: Path | None = None
    splits: Sequence[str] = ("train", "validation", "test")
    workers: int = 1
    list_file: Path | None = None

    def __post_init__(self) -> None:
        for name in self.splits:
            if name not in SIDES:
                raise unknown_name("split", name, SIDES)

    @property
    def downloads(self) -> Path:
        """Where downloaded files are kept."""
        return self.data_root / DOWNLOADS


def published_list(published: PublishedSet, place: Place) -> tuple[list[str] | None, list[str]]:
    """The published training ids, or None where they cannot be had, with a remark.

    The file is read as text, whatever its ending says: nothing is unpickled.

    Raises:
        InputError: if a file was given that is not the published one.
    """
    path = place.list_file
    if path is None:
        target = place.downloads / "lists" / f"{published.name}.txt"
        url = address("lists", published.list_path)
        download = Download(
            url=url, path=target, algorithm="sha256", digest=published.list_file_digest, most_bytes=LONGEST_LIST
        )
        try:
            path = fetch(download)
        except InputError as error:
            return None, [f"{published.name}: without the published list ({error})"]
    if not path.is_file():
        raise InputError(f"no list at {path}; leave --list out to download it")
    found = file_digest(path, "sha256")
    if found != published.list_file_digest:
        raise InputError(
            f"{path} is not the published list of {published.name}: SHA-256 {found}, expected "
            f"{published.list_file_digest} (the authors' repository holds an older list, too). Give another"
        )
    return path.read_text(encoding="ascii").split(), []


def prepare_labels(published: PublishedSet, file: Path, place: Place) -> tuple[Path, list[str]]:
    """Prepare a published set's labels from an `.npz`, without any image; return its folder and remarks.

    Raises:
        InputError: if the file cannot be read, or its labels are not the published ones.
    """
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            source = labels_of_file(published, dict(arrays))
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(
            f"{file} is no whole .npz of arrays of numbers and texts; --labels takes the arrays classes, train_ids, "
            "train_labels, test_ids and test_labels"
        ) from error
    splits, remarks = define_splits(published, source)
    folder = place.data_root / published.name
    with making_dataset(published.name, place.data_root):
        there = read_manifest(folder)
        if there is not None and _digests(splits).items() <= there.digests.items():
            return folder, [f"{published.name}: these labels are prepared already, left as they are"]
        summary = f"{len(splits['train'].ids):,} images of {len(published.classes)} classes; labels alone"
        write_labels(published.name, published, splits, place, summary=summary, source=file.name)
    return folder, remarks


def write_labels(
    name: str, published: PublishedSet, splits: Mapping[str, SplitLabels], place: Place, *, summary: str, source: str
) -> Path:
    """Write labels and manifest of a published set; statistics and plans need no more.

    Raises:
        OSError: if the folder cannot be written.
    """
    manifest = Manifest(
        name=name,
        summary=summary,
        source=source,
        recipe="paper",
        backbone="resnet50",
        classes=published.classes,
        digests=_digests(splits),
        images={split: len(labels.ids) for split, labels in splits.items()},
        options={},
    )
    folder = place.data_root / name
    folder.mkdir(parents=True, exist_ok=True)
    write_prepared(folder, manifest, splits)
    return folder


def decode_images(
    folder: Path, files: Mapping[str, Sequence[ImageFile]], place: Place, *, on_progress: Progress
) -> list[str]:
    """Decode the wanted splits; every image of an official release must be there and whole. Returns remarks.

    Raises:
        InputError: after all of them were tried, if some are not.
    """
    caches = decode_splits(folder, files, cure=UNUSABLE, workers=place.workers, on_progress=on_progress)
    return describe_reports(folder, caches)


def _digests(splits: Mapping[str, SplitLabels]) -> dict[str, str]:
    return {name: split.digest(SIDES[name]) for name, split in splits.items()}
