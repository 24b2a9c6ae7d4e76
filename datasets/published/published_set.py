"""Published sets: from labels to splits, checked by digests; written with decoded images as a folder; opened again."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ...errors import InputError, require_known
from ...files import file_digest
from ..dataset import SPLITS, Dataset
from ..download.fetching import Download, address, fetch
from ..images.cache import ImageFile
from ..importing.annotations import AnnotatedImage, Annotations
from ..importing.label_matrix import read_label_matrix
from ..long_tail.drawing import choose_like
from ..long_tail.selection import ids_digest, pareto_targets, select_head_to_tail
from ..prepared import dataset_folder
from ..prepared.dataset_folder import SIDES, Manifest, Progress, SplitLabels, read_manifest, write_prepared
from ..registry import DatasetEntry, register_dataset

FITTING = {"recipe": "paper", "backbone": "resnet50"}
VALIDATION_SEED = 0
LONGEST_LIST = 2**20
UNUSABLE = "They are of the official release: replace or delete them and give the same command again"


@dataclass(frozen=True, kw_only=True)
class PublishedSet:
    """A long-tailed set whose image list was published."""

    name: str
    classes: tuple[str, ...]  # in column order
    largest: int  # wanted size of the largest class in the construction
    generator: Callable[[], random.Random]  # that the construction drew from
    list_digest: str  # SHA-256 of the sorted training ids joined by newlines
    validation: int  # number of images set aside from what the construction left over
    digests: Mapping[str, str]  # of the splits, as far as they are known
    list_path: str  # of the published list, below the address of the lists
    list_file_digest: str  # SHA-256 of that file


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a published set is prepared, and how."""

    data_root: Path
    root: Path | None = None  # folder with the official files; None to download them
    splits: Sequence[str] = SPLITS  # whose images are wanted
    workers: int = 1
    list_file: Path | None = None  # the published list; None to download it
    on_progress: Progress = lambda activity, more, total: None

    def __post_init__(self) -> None:
        for name in self.splits:
            require_known("split", name, SIDES)

    @property
    def downloads(self) -> Path:
        """Where downloaded files are kept."""
        return self.data_root / dataset_folder.DOWNLOADS


def define_splits(
    published: PublishedSet, train: SplitLabels, test: SplitLabels, listed: Sequence[str] | None = None
) -> tuple[dict[str, SplitLabels], list[str]]:
    """Training, validation and test split of a published set, and remarks for the user.

    The published list, where it is available, defines the set; without it, the rebuilt one counts if it has the
    published digest. If `train` has the chosen images alone, instead of all that the construction chooses from, in its
    order, then there is no validation split.

    Raises `InputError` if neither the list nor the rebuilding gives the published images.
    """
    whole = ids_digest(train.ids.tolist()) != published.list_digest
    chosen, remarks = _training_ids(published, rebuild(published, train) if whole else train.ids.tolist(), listed)
    position = {name: i for i, name in enumerate(train.ids.tolist())}
    if absent := [name for name in chosen if name not in position]:
        raise InputError(f"{published.name}: the labels lack {len(absent)} of its images, such as {absent[0]!r}")
    splits = {"train": _rows(train, [position[name] for name in chosen])}
    if whole:
        pool = np.flatnonzero(~np.isin(train.ids, chosen))
        rows = choose_like(train.labels[pool], test.labels, published.validation, seed=VALIDATION_SEED)
        splits["validation"] = _rows(train, pool[rows])
    else:
        remarks.append("no validation split: it needs the labels of all training images")
    splits["test"] = _rows(test, range(len(test.ids)))
    cure = "the annotations are not those of the official release"
    for name, split in splits.items():
        found, wanted = split.digest(SIDES[name]), published.digests.get(name)
        if wanted is not None and found != wanted:
            raise InputError(f"{published.name}: the {name} labels have digest {found}, expected {wanted}; {cure}")
    return splits, remarks


def rebuild(published: PublishedSet, train: SplitLabels) -> list[str]:
    """The training ids by the published construction; on CPython 3.11 they come in the published order."""
    targets = pareto_targets(len(published.classes), largest=published.largest)
    rows = select_head_to_tail(train.labels, targets, published.generator())
    return train.ids[rows].tolist()  # type: ignore[no-any-return]


def prepare_labels(published: PublishedSet, file: Path, place: Place) -> tuple[Path, list[str]]:
    """Prepare a published set's labels without any image, from an `.npz` as `read_labels` takes it.

    Returns its folder and remarks. Raises `InputError` if its labels are not the published ones.
    """
    splits, remarks = define_splits(published, *read_labels(published, file))
    manifest = _manifest(published.name, published, splits, kind="; labels alone", source=file.name)
    folder = place.data_root / published.name
    with dataset_folder.building(published.name, place.data_root):
        there = read_manifest(folder)
        if there is not None and manifest.digests.items() <= there.digests.items():
            return folder, [f"{published.name}: these labels are prepared already, left as they are"]
        write_prepared(folder, manifest, splits)
    return folder, remarks


def read_labels(published: PublishedSet, file: Path) -> tuple[SplitLabels, SplitLabels]:
    """Training and test labels from arrays `classes`, `train_ids`, `train_labels`, `test_ids` and `test_labels`.

    Arrays `trainval2012_ids` and `trainval2012_labels`, of all training images, are preferred to those of the chosen.
    """
    sides = [read_label_matrix(file, prefixes=names) for names in (("trainval2012_", "train_"), ("test_",))]
    if any(side.classes != published.classes for side in sides):
        raise InputError(f"{file}: {published.name} has the classes {', '.join(published.classes)}, in this order")
    train, test = (SplitLabels(ids=np.array(side.ids), labels=side.labels) for side in sides)
    return train, test


def labels_of(images: Mapping[str, AnnotatedImage], classes: tuple[str, ...]) -> SplitLabels:
    """Ids and labels of images by id, in their order."""
    labels = Annotations(images=tuple(images.values()), classes=classes).labels()
    return SplitLabels(ids=np.array(list(images)), labels=labels)


def prepare_images(
    published: PublishedSet,
    train: Mapping[str, AnnotatedImage],  # by id, in the order that the construction chooses from
    test: Mapping[str, AnnotatedImage],
    place: Place,
    *,
    name: str,  # of the dataset, which may be a variant of the set
    source: str,  # of labels and images, for people to read
    tested_on: str,
    path: Callable[[str, str], Path],  # of the image file of a split and an id
    change: Callable[[dict[str, SplitLabels]], dict[str, SplitLabels]] = lambda splits: splits,  # by the variant
    download: Callable[[Mapping[str, Sequence[ImageFile]]], None] = lambda files: None,  # fetches what is not there
) -> tuple[Path, list[str]]:
    """Write labels and decode the wanted images of a published set; return its folder and remarks.

    Raises `InputError` if labels are not the official ones, or after all images were tried, if some are not whole.
    """
    listed, remarks = _published_list(published, place)
    sides = labels_of(train, published.classes), labels_of(test, published.classes)
    splits, more = define_splits(published, *sides, listed)
    splits = change(splits)
    folder = place.data_root / name
    manifest = _manifest(name, published, splits, kind=f", tested on {tested_on}", source=source)
    write_prepared(folder, manifest, splits)
    files = {}
    for split in place.splits:
        shapes = {key: image.shape for key, image in (test if split == "test" else train).items()}
        ids = splits[split].ids.tolist()
        files[split] = [ImageFile(id=key, path=str(path(split, key)), shape=shapes[key]) for key in ids]
    download(files)
    caches = dataset_folder.decode_splits(
        folder, files, cure=UNUSABLE, workers=place.workers, on_progress=place.on_progress
    )
    return folder, [*remarks, *more, *dataset_folder.describe_reports(folder, caches)]


def register_published(name: str, summary: str, source: str) -> None:
    """Let a published set be found by name."""
    opened = partial(open_published, name)
    register_dataset(DatasetEntry(name=name, summary=summary, source=source, open=opened, weights=None, **FITTING))


def open_published(name: str, data_root: Path) -> Dataset:
    """Open a published set that was prepared under the data root, or its labels alone."""
    folder, command = data_root / name, f"`mltbench data prepare {name}`"
    if (manifest := read_manifest(folder)) is None:
        other = f"`mltbench data prepare {name} --root FOLDER` takes what is on disk"
        raise InputError(f"{name} is not prepared under {data_root}: {command} downloads and decodes it, {other}")
    return dataset_folder.open_prepared(
        folder, manifest, cure=f"`mltbench data prepare {name} --splits {{split}}` puts them there"
    )


def _training_ids(
    published: PublishedSet, rebuilt: list[str], listed: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    agrees = ids_digest(rebuilt) == published.list_digest
    if listed is not None:
        if ids_digest(listed) != published.list_digest:
            raise InputError(f"{published.name}: the list of images does not have digest {published.list_digest[:12]}")
        differing = len(set(rebuilt) ^ set(listed))
        how = "the rebuilt list is the published one" if agrees else f"the rebuilt list differs in {differing} images"
        return list(listed), [f"{published.name}: {how}; the published list is taken"]
    if not agrees:
        digests = f"{ids_digest(rebuilt)[:12]}, the published ones {published.list_digest[:12]}"
        lacking = f"the images chosen here have digest {digests}, and the published list is not available"
        cure = f"give it with --list FILE ({published.list_path} of the authors' repository)"
        raise InputError(f"{published.name}: {lacking}; {cure}")
    return rebuilt, [f"{published.name}: the images have the published digest {published.list_digest[:12]}"]


def _rows(split: SplitLabels, rows: Iterable[int]) -> SplitLabels:
    # In order of their ids, so that the split does not depend on how the list was made.
    ordered = sorted(rows, key=lambda row: str(split.ids[row]))
    return SplitLabels(ids=split.ids[ordered], labels=split.labels[ordered])


def _published_list(published: PublishedSet, place: Place) -> tuple[list[str] | None, list[str]]:
    """The published training ids, or None where they are not available, with a remark.

    The file is read as text, whatever its suffix says: nothing is unpickled.
    """
    path = place.list_file
    if path is None:
        url, kept = address("lists", published.list_path), place.downloads / "lists" / f"{published.name}.txt"
        published_file = {"algorithm": "sha256", "digest": published.list_file_digest}
        try:
            path = fetch(Download(url=url, path=kept, most_bytes=LONGEST_LIST, **published_file))
        except InputError as error:
            return None, [f"{published.name}: without the published list ({error})"]
    if not path.is_file():
        raise InputError(f"no list at {path}; leave --list out to download it")
    if (found := file_digest(path)) != published.list_file_digest:
        wanted = f"{published.list_file_digest} (the authors' repository holds an older list, too). Give another"
        raise InputError(f"{path} is not the published list of {published.name}: SHA-256 {found}, expected {wanted}")
    return path.read_text(encoding="ascii").split(), []


def _manifest(
    name: str, published: PublishedSet, splits: Mapping[str, SplitLabels], *, kind: str, source: str
) -> Manifest:
    summary = f"{len(splits['train'].ids):,} images of {len(published.classes)} classes{kind}"
    about = {**FITTING, "name": name, "summary": summary, "source": source}
    return dataset_folder.describe_splits(splits, **about, classes=published.classes, options={})
