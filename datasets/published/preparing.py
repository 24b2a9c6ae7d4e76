"""From the labels of a published set to a folder with labels and decoded images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..array_files import DAMAGE
from ..download.addresses import address
from ..download.fetching import Download, fetch, file_digest
from ..errors import InputError, unknown_name
from ..images.cache import BadImagesError, ImageFile, write_json
from ..images.cache_building import build_cache
from ..prepared import SIDES, Manifest, SplitLabels, write_prepared
from .definition import PublishedSet, define_splits, labels_of_file

LONGEST_LIST = 2**20
Progress = Callable[[str, int, int], None]


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
        return self.data_root / "downloads"


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
        raise InputError(f"cannot read the labels in {file}: {error}") from error
    splits, remarks = define_splits(published, source)
    summary = f"{len(splits['train'].ids):,} images of {len(published.classes)} classes; labels alone"
    folder = write_labels(published.name, published, splits, place, summary=summary, source=file.name)
    return folder, remarks


def write_labels(
    name: str, published: PublishedSet, splits: Mapping[str, SplitLabels], place: Place, *, summary: str, source: str
) -> Path:
    """Write labels and manifest of a published set; statistics and plans need no more.

    Raises:
        InputError: if the folder cannot be written.
    """
    manifest = Manifest(
        name=name,
        summary=summary,
        source=source,
        recipe="paper",
        backbone="resnet50",
        classes=published.classes,
        digests={split: labels.digest(SIDES[split]) for split, labels in splits.items()},
        images={split: len(labels.ids) for split, labels in splits.items()},
        options={},
    )
    folder = place.data_root / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_prepared(folder, manifest, splits)
    except OSError as error:
        raise InputError(
            f"cannot write {folder}: {error.strerror or error}; free some space or give another folder with "
            "--data-root (MLTBENCH_DATA)"
        ) from error
    return folder


def decode_splits(
    folder: Path, files: Mapping[str, Sequence[ImageFile]], place: Place, *, on_progress: Progress
) -> None:
    """Decode the wanted splits; every image of an official release must be there and whole.

    Raises:
        InputError: after all of them were tried, if some are not.
    """
    bad: list[dict[str, str]] = []
    for name, images in files.items():

        def tell(done: int, name: str = name, total: int = len(images)) -> None:
            on_progress(f"decoding {name}", done, total)

        try:
            build_cache(images, folder / f"{name}.npy", SIDES[name], workers=place.workers, on_progress=tell)
        except BadImagesError as error:
            bad += [{"image": i.id, "path": i.path, "reason": i.problem} for i in error.images if i.problem]
    if bad:
        write_json(folder / "quarantine.json", {"unusable": bad})
        lines = "\n".join(f"  {entry['path']}: {entry['reason']}" for entry in bad[:5])
        raise InputError(
            f"{len(bad)} images of the official release cannot be used:\n{lines}\nall of them: "
            f"{folder / 'quarantine.json'}. Replace or delete them and give the same command again; what was decoded "
            "is kept"
        )
