"""Making a dataset of anybody's images: labels read, splits fixed, images decoded, all of it written as one folder."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...files import safe_file_name
from ..dataset import SPLITS
from ..images.cache import Cache, ImageFile
from ..long_tail.statistics import ClassStatistics
from ..prepared.dataset_folder import (
    DOWNLOADS,
    MANIFEST,
    SIDES,
    Manifest,
    SplitLabels,
    read_manifest,
    read_split_labels,
    write_prepared,
)
from ..prepared.making import making_dataset
from ..prepared.split_images import Progress, decode_splits, describe_reports
from .annotations import AnnotatedImage, Annotations
from .remarks import files_in_two_splits, files_without_label
from .splits import SplitOptions, divide

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
UNUSABLE = (
    "Mend or replace these files and give the same command again (what was decoded is kept), or go on without them: "
    "--leave-out-unusable"
)


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """How a dataset is made of annotated images.

    Attributes:
        name: what commands will call it.
        images: folder that the files lie below.
        data_root: where datasets are kept.
        splits: how images are divided.
        recipe: training recipe that it gets.
        backbone: backbone that it gets.
        workers: processes that decode.
        leave_out: go on without images that cannot be used.
        replace: overwrite a dataset of that name.
        source: what the labels were read from, in words.
    """

    name: str
    images: Path
    data_root: Path
    splits: SplitOptions = field(default_factory=SplitOptions)
    recipe: str = "paper"
    backbone: str = "resnet50"
    workers: int = 1
    leave_out: bool = False
    replace: bool = False
    source: str = ""

    @property
    def folder(self) -> Path:
        """Where the dataset will lie."""
        return self.data_root / self.name

    @property
    def building(self) -> Path:
        """Where it lies until it is whole."""
        return self.data_root / f".{self.name}.building"


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import has made.

    Attributes:
        manifest: of the dataset.
        folder: where it lies.
        remarks: what the user should know.
    """

    manifest: Manifest
    folder: Path
    remarks: Sequence[str]


def check_dataset_name(name: str, taken: Sequence[str]) -> str:
    """Return a name that a folder and a command line can bear.

    Raises:
        InputError: if it cannot be used, or is one of mltbench's own.
    """
    if not NAME.fullmatch(name) or safe_file_name(name) != name:
        raise InputError(
            f"dataset name {name!r} must be of small letters, digits and . _ -, begin with a letter or digit, and "
            "have at most 64 characters, such as my-photos; Windows' own names (con, nul, ...) are not taken"
        )
    if name in (*taken, DOWNLOADS):
        raise InputError(f"{name!r} is one of mltbench's own names; choose another")
    return name


def import_images(
    annotations: Annotations,
    options: ImportOptions,
    *,
    on_progress: Progress = lambda what, more, total: None,
) -> Imported:
    """Divide, decode and write; the dataset is there whole or not at all, and a killed import goes on where it was.

    Args:
        annotations: as an importer returned them.
        options: name, folders and splits.
        on_progress: told `decoding SPLIT`, how many more images are done, and how many there are.

    Raises:
        InputError: if the name is taken, a split is empty, images cannot be used, or the disk is full.
    """
    labels = annotations.labels()
    given = [image.split for image in annotations.images]
    rows, remarks = divide(labels, given, options.splits, class_names=annotations.classes)
    chosen = {name: [annotations.images[i] for i in rows[name]] for name in SPLITS}
    with making_dataset(options.name, options.data_root):
        _require_room(options, annotations.classes, {name: (chosen[name], labels[rows[name]]) for name in SPLITS})
        caches = _decode(chosen, options, on_progress)
        splits = {name: _split_labels(caches[name], labels[rows[name]]) for name in SPLITS}
        ClassStatistics.from_labels(splits["train"].labels, class_names=annotations.classes)
        manifest = _manifest(annotations, options, splits)
        _require_new(options, manifest)
        write_prepared(options.building, manifest, splits)
        _put_in_place(options)
    remarks = [
        *annotations.remarks,
        *files_without_label(annotations, options.images),
        *remarks,
        *describe_reports(options.folder, caches),
        *files_in_two_splits(splits),
    ]
    return Imported(manifest=manifest, folder=options.folder, remarks=remarks)


def _require_room(
    options: ImportOptions,
    classes: Sequence[str],
    splits: Mapping[str, tuple[Sequence[AnnotatedImage], NDArray[np.uint8]]],
) -> None:
    """Refuse before an hour of decoding what can be known to be refused after it."""
    folder = options.folder
    if not folder.exists():
        return
    if not (folder / MANIFEST).exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"{folder} is there and is no dataset of mltbench; choose another name, or another --data-root"
        )
    if options.replace or (found := read_manifest(folder)) is None:
        return
    others = tuple(found.classes) != tuple(classes) or found.options != _used(options)
    for name, (images, labels) in splits.items():
        there = read_split_labels(folder, found, name)
        wanted = {image.file: row.tobytes() for image, row in zip(images, labels, strict=True)}
        kept = dict(zip(there.ids.tolist(), (row.tobytes() for row in there.labels), strict=True))
        # Unusable images may have been left out of what is there.
        others |= not kept.items() <= wanted.items() if options.leave_out else kept != wanted
    if others:
        raise _taken(options)


def _decode(
    chosen: Mapping[str, Sequence[AnnotatedImage]], options: ImportOptions, on_progress: Progress
) -> dict[str, Cache]:
    options.building.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        _reuse(options.folder / f"{name}.npy", options.building / f"{name}.npy")
    files = {
        name: [ImageFile(id=i.file, path=str(options.images / i.file), shape=i.shape) for i in images]
        for name, images in chosen.items()
    }
    return decode_splits(
        options.building,
        files,
        cure=UNUSABLE,
        workers=options.workers,
        leave_out=options.leave_out,
        on_progress=on_progress,
    )


def _reuse(made: Path, building: Path) -> None:
    """Link the cache of an earlier import into the new one, which takes it where it was made of the same files."""
    if not building.exists() and made.exists():
        for ending in ("", ".json"):
            # Where files cannot be linked they are decoded again.
            with contextlib.suppress(OSError):
                os.link(f"{made}{ending}", f"{building}{ending}")


def _split_labels(cache: Cache, labels: NDArray[np.uint8]) -> SplitLabels:
    good = [i for i, image in enumerate(cache.images) if not image.problem]
    if not good:
        raise InputError(f"no image of the split {cache.path.stem} can be used")
    kept = [cache.images[i] for i in good]
    return SplitLabels(
        ids=np.array([image.id for image in kept]),
        labels=labels[good],
        file_digests=np.array([image.file_digest for image in kept]),
    )


def _manifest(annotations: Annotations, options: ImportOptions, splits: Mapping[str, SplitLabels]) -> Manifest:
    return Manifest(
        name=options.name,
        summary=f"imported: {sum(len(split.ids) for split in splits.values()):,} images"
        + (", long-tailed by the paper's construction" if options.splits.long_tail else ""),
        source=options.source,
        recipe=options.recipe,
        backbone=options.backbone,
        classes=annotations.classes,
        digests={name: split.digest(SIDES[name]) for name, split in splits.items()},
        images={name: len(split.ids) for name, split in splits.items()},
        options=_used(options),
    )


def _used(options: ImportOptions) -> dict[str, Any]:
    """How images were divided, as the manifest has it when it is read."""
    return json.loads(json.dumps(asdict(options.splits)))  # type: ignore[no-any-return]


def _require_new(options: ImportOptions, manifest: Manifest) -> None:
    if not options.replace and read_manifest(options.folder) not in (None, manifest):
        raise _taken(options)


def _taken(options: ImportOptions) -> InputError:
    return InputError(
        f"there is a dataset {options.name!r} of other images, labels or settings at {options.folder}; "
        "choose another name, or overwrite it: --replace"
    )


def _put_in_place(options: ImportOptions) -> None:
    old = options.data_root / f".{options.name}.old"
    if old.exists():
        shutil.rmtree(old)
    if options.folder.exists():
        options.folder.rename(old)
    options.building.rename(options.folder)
    if old.exists():
        shutil.rmtree(old)
