"""Labels from a COCO instances file: an image holds the classes of its annotations.

Crowd annotations count; boxes without area or with a side under 1 pixel do not, as in the published data of COCO-MLT.
pycocotools reads the same labels (a test compares them), but indexes what it is given without any check.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ...errors import InputError
from .annotations import AnnotatedImage, Annotations

SMALLEST_SIDE = 1.0
Value = TypeVar("Value", int, str)


def read_coco_json(path: Path, *, split: str | None = None) -> Annotations:
    """Read a COCO instances JSON; all its images belong to one split, if that is given.

    Raises `InputError` if it is no such file, an id is unknown or occurs twice, or a box is none; the entry is named.
    """
    content = _load(path)
    categories, images = _by_id(content, "categories", path), _by_id(content, "images", path)
    classes = {key: _value(entry, "name", str, where) for key, (entry, where) in categories.items()}
    held: dict[int, set[str]] = {key: set() for key in images}
    ignored = 0
    for number, annotation in enumerate(content["annotations"]):
        where = f"{path}: annotation number {number} (id {annotation.get('id')!r:.40})"
        image_id, category = _value(annotation, "image_id", int, where), _value(annotation, "category_id", int, where)
        if image_id not in images:
            raise InputError(f"{where} belongs to image {image_id}, which `images` lacks; remove it or add the image")
        if category not in classes:
            lacks = f"has category {category}, which `categories` lacks"
            raise InputError(f"{where} {lacks}; remove it or add the category")
        if _counts(annotation, where):
            held[image_id].add(classes[category])
        else:
            ignored += 1
    remark = f"{path.name}: {ignored} annotations ignored: box without area, or with a side under 1 pixel"
    annotated = []
    for key, (entry, where) in images.items():
        sides = [_value(entry, side, int, where) for side in ("width", "height") if {"width", "height"} <= entry.keys()]
        file, shape = _value(entry, "file_name", str, where), (sides[0], sides[1]) if sides else None
        annotated.append(AnnotatedImage(file=file, classes=frozenset(held[key]), split=split, shape=shape))
    remarks = [remark] if ignored else []
    return Annotations(images=tuple(annotated), classes=tuple(classes.values()), remarks=remarks)


def _load(path: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON in UTF-8: {error}") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise InputError(f"{path} needs the lists images, annotations and categories (COCO instances); no {key!r}")
        if not all(isinstance(entry, dict) for entry in content[key]):
            raise InputError(f"{path}: every entry of {key!r} must be an object")
    return content  # type: ignore[no-any-return]


def _by_id(content: Mapping[str, Sequence[Any]], key: str, path: Path) -> dict[int, tuple[dict[str, Any], str]]:
    """Images or categories by id, each with its place for messages."""
    kind = {"images": "image", "categories": "category"}[key]
    found: dict[int, tuple[dict[str, Any], str]] = {}
    for number, entry in enumerate(content[key]):
        where = f"{path}: {kind} number {number}"
        if (number_of := _value(entry, "id", int, where)) in found:
            raise InputError(f"{where}: {kind} id {number_of} is there twice; give each {kind} its own")
        found[number_of] = entry, where
    return found


def _counts(annotation: dict[str, Any], where: str) -> bool:
    box = annotation.get("bbox")
    if box is None:
        return True  # labels without boxes are labels all the same
    if not isinstance(box, list) or len(box) != 4 or not all(_finite(value) for value in box):
        raise InputError(f"{where} has the box {box!r:.80}; a box is four finite numbers: left, top, width, height")
    area = annotation.get("area", box[2] * box[3])
    if not _finite(area):
        raise InputError(f"{where} has the area {area!r:.80}; it must be a finite number")
    return bool(area > 0 and min(box[2:]) >= SMALLEST_SIDE)


def _finite(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _value(entry: dict[str, Any], key: str, kind: type[Value], where: str) -> Value:
    value = entry.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(f"{where}: {key}={value!r:.80} must be a {'text' if kind is str else 'whole number'}")
    return value
