"""Building a dataset from your own images: files found, splits fixed, images decoded, all written as one folder."""

import contextlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...files import safe_file_name
from ..images.cache import Cache, ImageFile
from ..images.decode import ENDINGS
from ..long_tail.statistics import UNKNOWN, ClassStatistics
from ..prepared import dataset_folder
from ..prepared.dataset_folder import MANIFEST, Manifest, Progress, SplitLabels, StartingWeights, read_manifest
from .annotations import Annotations
from .image_files import FoundImages, find_images
from .splits import SplitOptions, divide

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
UNUSABLE = "Repair or replace them and give the same command again, or continue without them: --leave-out-unusable"


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """How a dataset is built from annotated images."""

    name: str
    images: Mapping[str | None, Path]  # folder that the files of a split are below, or with None, all files
    data_root: Path
    splits: SplitOptions = field(default_factory=SplitOptions)
    recipe: str = "paper"
    backbone: str = "resnet50"
    weights: StartingWeights | None = None  # None is the backbone's published ones
    workers: int = 1
    leave_out: bool = False  # continue without images that cannot be used
    replace: bool = False  # overwrite a dataset of that name
    source: str = ""  # what the labels were read from, for people to read

    @property
    def folder(self) -> Path:
        """Where the dataset will be."""
        return self.data_root / self.name

    @property
    def embedded(self) -> Path:
        """Where pictures are that the label files hold, until they are decoded."""
        return self.data_root / f".{self.name}.images"

    @property
    def building(self) -> Path:
        """Where it is until it is whole."""
        return self.data_root / f".{self.name}.building"


def check_dataset_name(name: str, taken: Sequence[str]) -> str:
    """Return a name that works as a folder and on a command line.

    Raises `InputError` if it cannot be used, or is one of mltbench's own.
    """
    if not NAME.fullmatch(name) or safe_file_name(name) != name:
        raise InputError(
            f"dataset name {name!r} must be of small letters, digits and . _ -, begin with a letter or digit, and "
            "have at most 64 characters, such as my-photos; Windows' own names (con, nul, ...) are not taken"
        )
    if name in (*taken, dataset_folder.DOWNLOADS):
        raise InputError(f"{name!r} is one of mltbench's own names; choose another")
    return name


def import_images(
    annotations: Annotations, options: ImportOptions, *, on_progress: Progress = lambda activity, more, total: None
) -> tuple[Manifest, list[str]]:
    """Divide, decode and write; return the manifest and remarks.

    The dataset is there whole or not at all, and splits that were decoded already are kept. Raises `InputError` if the
    name is taken, a split is empty, images cannot be used, or the disk is full.
    """
    with dataset_folder.building(options.name, options.data_root):
        folders = options.images or {None: _save_images(annotations, options)}
        found = find_images(annotations.images, folders)
        labels = annotations.labels()
        given = [image.split for image in found.images]
        # An image without a group is one of its own.
        grouped = any(image.group for image in found.images)
        groups = [image.group or f"image {image.file}" for image in found.images] if grouped else None
        rows, remarks = divide(labels, given, options.splits, class_names=annotations.classes, groups=groups)
        wanted = {
            name: {found.images[i].file: labels[i].tobytes() for i in of_split} for name, of_split in rows.items()
        }
        _check_folder(options, annotations.classes, wanted)
        caches = _decode(found, rows, options, on_progress)
        splits = {name: _split_labels(caches[name], labels[of_split]) for name, of_split in rows.items()}
        ClassStatistics.from_labels(splits["train"].labels, class_names=annotations.classes)
        summary = f"imported: {sum(len(split.ids) for split in splits.values()):,} images"
        summary += ", long-tailed by the paper's construction" if options.splits.long_tail else ""
        about = {name: getattr(options, name) for name in ("name", "source", "recipe", "backbone", "weights")}
        about |= {"summary": summary, "classes": annotations.classes, "options": options.splits.recorded()}
        manifest = dataset_folder.describe_splits(splits, **about)
        if not options.replace and read_manifest(options.folder) not in (None, manifest):
            raise _taken(options)
        dataset_folder.write_prepared(options.building, manifest, splits)
        old = options.data_root / f".{options.name}.old"
        shutil.rmtree(old, ignore_errors=True)
        if options.folder.exists():
            options.folder.rename(old)
        options.building.rename(options.folder)
        for done in (old, options.embedded):
            shutil.rmtree(done, ignore_errors=True)
    return manifest, [
        *annotations.remarks,
        *found.remarks,
        *(_files_without_label(found.paths) if options.images else ()),
        *_unknown_labels(labels),
        *remarks,
        *_groups_in_two_splits(annotations, rows),
        *dataset_folder.describe_reports(options.folder, caches),
        *_files_in_two_splits(splits),
    ]


def _save_images(annotations: Annotations, options: ImportOptions) -> Path:
    """Write pictures that the label files hold, until they are decoded."""
    for save in annotations.save_images:
        save(options.embedded)
    for file in options.embedded.rglob("*"):
        os.utime(file, (0, 0))  # the same import decodes nothing again
    return options.embedded


def _check_folder(options: ImportOptions, classes: Sequence[str], splits: Mapping[str, Mapping[str, bytes]]) -> None:
    """Refuse before an hour of decoding what can be known to be refused after it."""
    if not (folder := options.folder).exists():
        return
    if not (folder / MANIFEST).exists() and (not folder.is_dir() or any(folder.iterdir())):
        cure = "choose another name, or another --data-root"
        raise InputError(f"{folder} is there and is no dataset of mltbench; {cure}")
    if options.replace or (found := read_manifest(folder)) is None:
        return
    others = tuple(found.classes) != tuple(classes) or found.options != options.splits.recorded()
    others |= found.digests.keys() != splits.keys()
    for name, wanted in splits.items() if not others else ():
        there = dataset_folder.read_split_labels(folder, found, name)
        kept = dict(zip(there.ids.tolist(), (row.tobytes() for row in there.labels), strict=True))
        # Unusable images may have been left out of what is there.
        others |= not kept.items() <= wanted.items() if options.leave_out else kept != wanted
    if others:
        raise _taken(options)


def _decode(
    found: FoundImages, rows: Mapping[str, Sequence[int]], options: ImportOptions, on_progress: Progress
) -> dict[str, Cache]:
    options.building.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, of_split in rows.items():
        made, copy = options.folder / f"{name}.npy", options.building / f"{name}.npy"
        # The cache of an earlier import is linked into the new one, which takes it if it is of the same files; where
        # files cannot be linked they are decoded again.
        for ending in ("", ".json", ".jsonl") if made.exists() and not copy.exists() else ():
            with contextlib.suppress(OSError):
                os.link(f"{made}{ending}", f"{copy}{ending}")
        files[name] = [
            ImageFile(id=found.images[i].file, path=found.paths[i], shape=found.images[i].shape) for i in of_split
        ]
    return dataset_folder.decode_splits(
        options.building, files, cure=UNUSABLE, workers=options.workers, leave_out=options.leave_out,
        on_progress=on_progress,
    )  # fmt: skip


def _split_labels(cache: Cache, labels: NDArray[np.uint8]) -> SplitLabels:
    rows, ids, digests = cache.kept()
    if not rows.size:
        raise InputError(f"no image of the split {cache.path.stem} can be used")
    return SplitLabels(ids=ids, labels=labels[rows], file_digests=digests)


def _taken(options: ImportOptions) -> InputError:
    there = f"there is a dataset {options.name!r} of other images, labels or settings at {options.folder}"
    return InputError(f"{there}; choose another name, or overwrite it: --replace")


def _files_without_label(named: Sequence[str]) -> list[str]:
    """A remark on image files in the folders of named ones that no label names, if there are any."""
    known = set(named)
    folders = [Path(folder) for folder in {path.rpartition("/")[0] for path in named}]
    others = [
        path
        for folder in folders
        if folder.is_dir()
        for path in (f"{folder}/{entry.name}" for entry in os.scandir(folder))
        if path not in known and Path(path).suffix.lower() in ENDINGS
    ]
    return [f"not taken, no label names them: {_counted(others)}, such as {min(others)}"] if others else []


def _unknown_labels(labels: NDArray[np.uint8]) -> list[str]:
    """A remark on labels that are not known, if there are any."""
    share = float((labels == UNKNOWN).mean())
    return [f"{share:.1%} of the labels are unknown: left out of statistics, losses and scores"] if share else []


def _groups_in_two_splits(annotations: Annotations, rows: Mapping[str, Sequence[int]]) -> list[str]:
    """A remark on test images that seem to be of a patient, study or video of training images, if there are any."""
    if (likely := annotations.likely_groups) is None:
        return []
    groups = {name: [likely.group_of[annotations.images[i].file] for i in rows[name]] for name in ("train", "test")}
    trained = set(groups["train"]) - {None}
    shared = [group for group in groups["test"] if group in trained]
    many = (
        f"{len(shared):,} of {len(groups['test']):,} test images share one with training images, such as {shared[:1]}"
    )
    cure = f"If it is a patient, study or video, scores are too good: {likely.cure} keeps each in one split"
    return [f"images seem to be in groups: {many}. {cure}"] if shared else []


def _files_in_two_splits(splits: Mapping[str, SplitLabels]) -> list[str]:
    """A remark on files of the same bytes in several splits, which make scores too good, if there are any."""
    first: dict[str, tuple[str, str]] = {}
    twice = []
    for name, split in splits.items():
        for image, digest in zip(split.ids.tolist(), split.file_digests.tolist(), strict=True):
            there = first.setdefault(digest, (name, image))
            if there[0] != name:
                twice.append(f"{there[1]} ({there[0]}) and {image} ({name})")
    remark = "the same bytes in two splits, which makes scores too good"
    return [f"{remark}: {_counted(twice)}, such as {twice[0]}"] if twice else []


def _counted(files: Sequence[str]) -> str:
    return f"{len(files)} image file{'s' * (len(files) > 1)}"
