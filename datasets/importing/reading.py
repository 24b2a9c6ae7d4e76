"""Which importer reads which labels: told by the file's ending, or by its being a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import InputError
from .annotations import SPLIT_NAMES, Annotations, checked, split_name
from .coco_json import read_coco_json
from .csv_labels import CsvOptions, read_csv
from .voc_xml import read_voc_folder


def read_annotations(labels: Sequence[str], columns: CsvOptions, *, difficult: bool = True) -> Annotations:
    """Read labels: one CSV, one folder of VOC XML, or COCO JSON files, several with their splits.

    Args:
        labels: paths; a COCO JSON may be `SPLIT=PATH`.
        columns: how a CSV is laid out.
        difficult: whether VOC objects marked difficult count.

    Raises:
        InputError: if there is no such file, or its content cannot be used.
    """
    parts = [_split_and_path(text) for text in labels]
    if len(parts) > 1 and not all(path.suffix.lower() == ".json" for _, path in parts):
        raise InputError("--labels is given several times only with COCO JSON files, such as train=a.json test=b.json")
    for _, path in parts:
        if not path.exists():
            raise InputError(f"no labels at {path}; give a CSV, a COCO .json or a folder of VOC .xml")
    first = parts[0][1]
    if first.is_dir():
        return checked(read_voc_folder(first, difficult=difficult), first)
    if first.suffix.lower() == ".json":
        return checked(_joined([read_coco_json(path, split=split) for split, path in parts], first), first)
    if first.suffix.lower() == ".xml":
        raise InputError(f"{first} is one annotation; give the folder of the .xml files")
    return checked(read_csv(first, columns), first)


def _split_and_path(text: str) -> tuple[str | None, Path]:
    before, sign, after = text.partition("=")
    if sign and before.strip().lower() in SPLIT_NAMES:
        return split_name(before, text), Path(after)
    return None, Path(text)


def _joined(found: Sequence[Annotations], first: Path) -> Annotations:
    for other in found[1:]:
        if other.classes != found[0].classes:
            raise InputError(f"the files beginning with {first} have different categories; they must be the same")
    return Annotations(
        images=tuple(image for part in found for image in part.images),
        classes=found[0].classes,
        remarks=[remark for part in found for remark in part.remarks],
    )
