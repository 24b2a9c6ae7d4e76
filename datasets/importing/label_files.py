"""Label files of any format: one reader for each, and one place where their names, splits and groups are judged.

`data import` and what shows or selects labels without images read them here.
"""

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from ...errors import InputError, some_of
from ..dataset import SPLITS
from ..long_tail.statistics import UNKNOWN
from .annotations import SPLIT_NAMES, AnnotatedImage, Annotations, checked, normal_name, renamed, split_name
from .coco_json import is_coco_json, read_coco_json
from .label_matrix import PREFIXES, LabelMatrix, read_label_matrix
from .label_options import ALWAYS, LabelOptions
from .table_labels import read_table
from .tables import read_tables
from .voc_xml import read_voc_folder

FORMATS = "a CSV, JSON Lines or Parquet table, a COCO .json, a folder of VOC .xml, a Hugging Face folder, or an .npz"


def read_labels(labels: Sequence[str], options: LabelOptions, *, prefixes: Sequence[str] = PREFIXES) -> Annotations:
    """Read label files, each for all images or as `SPLIT=PATH`; `prefixes` are those of arrays in an `.npz`.

    Raises `InputError` if there is no such file, its content cannot be used, or an option has no effect.
    """
    found, used = list[Annotations](), set(ALWAYS)
    for text in labels:
        split, path = split_and_path(text)
        if not path.exists():
            raise InputError(f"no labels at {path}; give {FORMATS}")
        for one, more in _read(path, options, prefixes):
            found.append(_in_split(one, split, path))
            used |= more
    options.require_used(used, f"labels like {some_of(labels)}")
    annotations = checked(_joined(found), split_and_path(labels[0])[1])
    if options.class_names is not None:
        annotations = renamed(annotations, _read_names(Path(options.class_names), annotations.classes))
    if options.split_list:
        annotations = _in_lists(annotations, options.split_list)
    if options.group_pattern is not None:
        annotations = _grouped(annotations, options.group_pattern)
    return _without_empty_classes(annotations) if options.drop_empty_classes else annotations


def read_matrices(
    labels: Sequence[str], options: LabelOptions, *, prefixes: Sequence[str] = PREFIXES
) -> tuple[Mapping[str, LabelMatrix], Sequence[str]]:
    """Label matrices by split, all of them as `train` where none are given, and remarks; no image is needed.

    `prefixes` are those of arrays in an `.npz`. Raises `InputError` as `read_labels` does.
    """
    split, path = split_and_path(labels[0])
    if len(labels) == 1 and split is None and path.suffix.lower() == ".npz" and not options.given:
        # Without a Python value for each image, of which there may be a million.
        return {"train": read_label_matrix(path, prefixes=prefixes)}, ()
    found = read_labels(labels, options, prefixes=prefixes)
    matrix, files = found.labels(), [image.file for image in found.images]
    rows = {name: [i for i, image in enumerate(found.images) if image.split == name] for name in SPLITS}
    if not any(rows.values()):
        rows = {"train": list(range(len(files)))}
    matrices = {
        name: LabelMatrix(ids=tuple(files[i] for i in of_split), labels=matrix[of_split], classes=found.classes)
        for name, of_split in rows.items()
        if of_split
    }
    if "train" not in matrices:
        raise InputError(f"{some_of(labels)}: splits are given, but no image is in the split train")
    return matrices, found.remarks


def split_and_path(text: str) -> tuple[str | None, Path]:
    """The split and the path of `SPLIT=PATH`, or of a path alone.

    >>> split_and_path("val=b.json")[0], split_and_path("b.json")[0]
    ('validation', None)
    """
    before, sign, after = text.partition("=")
    is_split = sign and before.strip().lower() in SPLIT_NAMES
    return (split_name(before, text), Path(after)) if is_split else (None, Path(text))


def _read(path: Path, options: LabelOptions, prefixes: Sequence[str]) -> list[tuple[Annotations, set[str]]]:
    """What a file or folder says, in parts, each with the options that had an effect."""
    ending = path.suffix.lower()
    if ending == ".xml":
        raise InputError(f"{path} is one annotation; give the folder of the .xml files")
    if ending == ".npz":
        return [(_of_matrix(read_label_matrix(path, prefixes=prefixes)), set())]
    if ending == ".json" and path.is_file() and is_coco_json(path):
        return [(read_coco_json(path), set())]
    if path.is_dir() and any(file.suffix.lower() == ".xml" for file in path.rglob("*")):
        return [(read_voc_folder(path, difficult=options.difficult), {"difficult"})]
    found = []
    for table in read_tables(path, delimiter=options.delimiter):
        annotations, used = read_table(table, options)
        found.append((_in_split(annotations, table.split, path), used | {"delimiter"}))
    return found


def _of_matrix(matrix: LabelMatrix) -> Annotations:
    kinds, kind_of = np.unique(matrix.labels, axis=0, return_inverse=True)
    of_kind = [
        [frozenset(matrix.classes[i] for i in np.flatnonzero(kind == value)) for value in (1, UNKNOWN)]
        for kind in kinds
    ]
    chosen = [of_kind[i] for i in kind_of.reshape(-1)]
    images = [
        AnnotatedImage(file=file, classes=classes, unknown=unknown)
        for file, (classes, unknown) in zip(matrix.ids, chosen, strict=True)
    ]
    return Annotations(images=tuple(images), classes=matrix.classes)


def _in_split(found: Annotations, split: str | None, path: Path) -> Annotations:
    """The images of a file that was given for a split."""
    if split is None:
        return found
    if other := next((image for image in found.images if image.split not in (None, split)), None):
        cure = f"leave {split}= out, or the file's own splits"
        raise InputError(
            f"{path} was given as {split}, and says that {other.file!r} is in the split {other.split}; {cure}"
        )
    return replace(found, images=tuple(replace(image, split=split) for image in found.images))


def _joined(parts: Sequence[Annotations]) -> Annotations:
    """All files as one: classes by name, in the order of the first file that has them."""
    if len(parts) == 1:
        return parts[0]
    classes = tuple(dict.fromkeys(name for part in parts for name in part.classes))
    some = [name for name in classes if any(name not in part.classes for part in parts)]
    remarks = [remark for part in parts for remark in part.remarks]
    remarks += [f"classes that only some of the label files have: {some_of(some)}"] if some else []
    likely = [part.likely_groups for part in parts if part.likely_groups]
    groups = None
    if likely:
        groups = replace(likely[0], group_of={k: v for of_part in likely for k, v in of_part.group_of.items()})
    return Annotations(
        images=tuple(image for part in parts for image in part.images), classes=classes, remarks=remarks,
        likely_groups=groups, save_images=tuple(save for part in parts for save in part.save_images),
    )  # fmt: skip


def _read_names(path: Path, classes: Sequence[str]) -> Mapping[str, str]:
    """Names of classes by what the labels call them, from a CSV of two columns."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"cannot read the class names {path}: {error}") from error
    if wrong := next((row for row in rows if len(row) != 2), None):
        raise InputError(f"{path}: {wrong!r:.60} is no line of two cells: what the labels call a class, and its name")
    names = {normal_name(row[0]): normal_name(row[1]) for row in rows}
    if missing := [name for name in classes if name not in names]:
        raise InputError(f"{path} has no name for {some_of(missing)} ({len(missing)} of {len(classes)} classes)")
    return {name: names[name] for name in classes}


def _in_lists(found: Annotations, lists: Iterable[str]) -> Annotations:
    """The images that lists of names put into splits; others are left out."""
    split_of: dict[str, str] = {}
    for text in lists:
        split, path = split_and_path(text)
        if split is None:
            raise InputError(f"--split-list {text!r} must be SPLIT=FILE, such as test=test_list.txt")
        try:
            names = [normal_name(line) for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read the list of images {path}: {error}") from error
        for name in names:
            if (other := split_of.setdefault(name, split)) != split:
                raise InputError(f"{path}: {name!r} is in the list of {other} too; each image has one split")
    spellings: tuple[Callable[[str], str], ...] = (
        normal_name,
        lambda file: PurePosixPath(normal_name(file)).name,
        lambda file: PurePosixPath(normal_name(file)).stem,
    )
    images, named = [], set[str]()
    for image in found.images:
        listed = next((name for spell in spellings if (name := spell(image.file)) in split_of), None)
        if listed is not None:
            named.add(listed)
            images.append(replace(image, split=split_of[listed]))
    if not images:
        raise InputError(f"no image of the labels is in the lists of splits, such as {some_of(split_of, 1)}")
    remarks, unlisted = [*found.remarks], len(found.images) - len(images)
    remarks += [f"images in no list of a split, left out: {unlisted:,}"] if unlisted else []
    remarks += (
        [f"names in the lists of splits without labels: {rest:,}"] if (rest := len(split_of) - len(named)) else []
    )
    return replace(found, images=tuple(images), remarks=remarks)


def _grouped(found: Annotations, pattern: str) -> Annotations:
    """The images in groups by what a regular expression finds in their names."""
    try:
        matches = [re.search(pattern, image.file) for image in found.images]
    except re.error as error:
        raise InputError(f"--group-pattern {pattern!r} is no regular expression: {error}") from error
    if any(image.group is not None for image in found.images):
        raise InputError("--group-column and --group-pattern both say what a group is; give one of them")
    without = [image.file for image, match in zip(found.images, matches, strict=True) if match is None]
    if len(without) == len(matches):
        raise InputError(f"--group-pattern {pattern!r} is found in no name of an image, such as {without[0]!r}")
    remark = f"--group-pattern is found in all names but {len(without):,}, such as {(without or [''])[0]!r}"
    images = [
        replace(image, group=match and (match[1] if match.re.groups else match[0]))
        for image, match in zip(found.images, matches, strict=True)
    ]
    return replace(
        found, images=tuple(images), remarks=[*found.remarks, *([remark] if without else [])], likely_groups=None
    )


def _without_empty_classes(found: Annotations) -> Annotations:
    """Only the classes that a training image has, or where nothing says which these are, any image."""
    held = {name for image in found.images if image.split in (None, "train") for name in image.classes}
    empty = frozenset(found.classes) - held
    if not empty:
        return found
    images = tuple(
        replace(image, classes=image.classes - empty, unknown=image.unknown - empty, difficult=image.difficult - empty)
        for image in found.images
    )
    dropped = [name for name in found.classes if name in empty]
    remark = f"classes without any training image, left out: {some_of(dropped, 6)}"
    return replace(
        found,
        images=images,
        classes=tuple(name for name in found.classes if name in held),
        remarks=[*found.remarks, remark],
    )
