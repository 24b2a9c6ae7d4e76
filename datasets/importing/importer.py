"""Making a dataset of anybody's images: labels read, splits fixed, images decoded, all of it written as one folder."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ..dataset import SPLITS
from ..errors import InputError
from ..file_names import safe_file_name
from ..images.cache import BadImagesError, Cache, ImageFile, ImageReport, write_json
from ..images.cache_building import build_cache
from ..prepared import SIDES, Manifest, SplitLabels, read_manifest, write_prepared
from ..statistics import ClassStatistics
from .annotations import AnnotatedImage, Annotations
from .splits import SplitOptions, divide

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
QUARANTINE = "quarantine.json"


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
        left_out: images that are not part of it, with reasons.
        converted: images that had to be converted, with notes.
    """

    manifest: Manifest
    folder: Path
    remarks: Sequence[str]
    left_out: Sequence[ImageReport]
    converted: Sequence[ImageReport]


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
    if name in taken:
        raise InputError(f"{name!r} is one of mltbench's own datasets; choose another name")
    return name


def import_images(
    annotations: Annotations,
    options: ImportOptions,
    *,
    on_progress: Callable[[str, int, int], None] = lambda split, done, total: None,
) -> Imported:
    """Divide, decode and write; the dataset is there whole or not at all, and a killed import goes on where it was.

    Args:
        annotations: as an importer returned them.
        options: name, folders and splits.
        on_progress: told the split, the images that were just finished, and how many it has.

    Raises:
        InputError: if the name is taken, a split is empty, images cannot be used, or the disk is full.
    """
    labels = annotations.labels()
    rows, remarks = divide(labels, [image.split for image in annotations.images], options.splits)
    ClassStatistics.from_labels(labels[rows["train"]], class_names=annotations.classes)
    chosen = {name: [annotations.images[i] for i in rows[name]] for name in SPLITS}
    with _locked(options):
        caches = _decode(chosen, options, on_progress)
        splits = {name: _split_labels(caches[name], labels[rows[name]]) for name in SPLITS}
        ClassStatistics.from_labels(splits["train"].labels, class_names=annotations.classes)
        manifest = _manifest(annotations, options, splits)
        _require_new(options, manifest)
        write_prepared(options.building, manifest, splits)
        _put_in_place(options)
    reports = [image for cache in caches.values() for image in cache.images]
    return Imported(
        manifest=manifest,
        folder=options.folder,
        remarks=[*annotations.remarks, *remarks],
        left_out=[image for image in reports if image.problem],
        converted=[image for image in reports if image.note],
    )


def _decode(
    chosen: Mapping[str, Sequence[AnnotatedImage]], options: ImportOptions, on_progress: Callable[[str, int, int], None]
) -> dict[str, Cache]:
    """Decode all splits to their end, then tell of what could not be."""
    caches: dict[str, Cache] = {}
    reports: list[ImageReport] = []
    for name, images in chosen.items():
        files = [ImageFile(id=i.file, path=str(options.images / i.file), shape=i.shape) for i in images]

        def tell(done: int, name: str = name, total: int = len(files)) -> None:
            on_progress(name, done, total)

        path = options.building / f"{name}.npy"
        try:
            caches[name] = build_cache(
                files, path, SIDES[name], workers=options.workers, leave_out=options.leave_out, on_progress=tell
            )
            reports += caches[name].images
        except BadImagesError as error:
            reports += error.images
    _write_quarantine(options.building / QUARANTINE, reports)
    if len(caches) < len(chosen):
        raise _refusal(reports, options)
    return caches


def _write_quarantine(path: Path, reports: Sequence[ImageReport]) -> None:
    content = {
        "unusable": [{"image": r.id, "path": r.path, "reason": r.problem} for r in reports if r.problem],
        "converted": [{"image": r.id, "path": r.path, "what": r.note} for r in reports if r.note],
    }
    write_json(path, content)


def _refusal(reports: Sequence[ImageReport], options: ImportOptions) -> InputError:
    bad = [report for report in reports if report.problem]
    lines = [f"  {report.id}: {report.problem}" for report in bad[:10]]
    lines += [f"  ... and {len(bad) - 10} more"] if len(bad) > 10 else []
    return InputError(
        f"{len(bad)} of {len(reports)} images cannot be used:\n" + "\n".join(lines) + "\n"
        f"all of them, with reasons: {options.building / QUARANTINE}. Mend or replace these files and give the same "
        "command again (what was decoded is kept), or go on without them: --leave-out-unusable"
    )


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
    used: dict[str, Any] = json.loads(json.dumps(asdict(options.splits)))
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
        options=used,
    )


def _require_new(options: ImportOptions, manifest: Manifest) -> None:
    found = read_manifest(options.folder)
    if found is not None and found != manifest and not options.replace:
        raise InputError(
            f"there is a dataset {options.name!r} of other content at {options.folder}; "
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


@contextmanager
def _locked(options: ImportOptions) -> Iterator[None]:
    try:
        options.building.mkdir(parents=True, exist_ok=True)
        with FileLock(options.data_root / f".{options.name}.lock").acquire(timeout=0.2):
            options.building.mkdir(parents=True, exist_ok=True)
            yield
    except Timeout:
        raise InputError(f"another process is importing {options.name!r}; let it finish first") from None
    except OSError as error:
        raise InputError(
            f"cannot write the dataset {options.name!r} under {options.data_root}: {error.strerror or error}; "
            "free some space or give another folder with --data-root (MLTBENCH_DATA), then give the same command again"
        ) from error
