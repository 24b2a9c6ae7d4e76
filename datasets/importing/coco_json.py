"""Labels from a COCO instances file: an image holds the classes of its annotations.

Crowd annotations count; boxes without area or with a side under 1 pixel do not, as in the published data of COCO-MLT.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import InputError
from .annotations import AnnotatedImage, Annotations

SMALLEST_SIDE = 1.0


def read_coco_json(path: Path, *, split: str | None = None) -> Annotations:
    """Read a COCO instances JSON.

    Args:
        path: with `images`, `annotations` and `categories`.
        split: that its images belong to, or None.

    Raises:
        InputError: if it is no such file, an id is unknown or there twice, or a box is none; the entry is named.
    """
    content = _load(path)
    classes = _categories(content["categories"], path)
    images = _images(content["images"], path)
    held: dict[int, set[str]] = {key: set() for key in images}
    ignored: Counter[str] = Counter()
    for number, annotation in enumerate(content["annotations"]):
        where = f"{path}: annotation number {number} (id {_shown(annotation, 'id')})"
        image_id, category = _integer(annotation, "image_id", where), _integer(annotation, "category_id", where)
        if image_id not in images:
            raise InputError(f"{where} belongs to image {image_id}, which `images` lacks; remove it or add the image")
        if category not in classes:
            raise InputError(
                f"{where} has category {category}, which `categories` lacks; remove it or add the category"
            )
        reason = _ignored(annotation, where)
        if reason:
            ignored[reason] += 1
        else:
            held[image_id].add(classes[category])
    return Annotations(
        images=tuple(
            AnnotatedImage(file=name, classes=frozenset(held[key]), split=split, shape=shape)
            for key, (name, shape) in images.items()
        ),
        classes=tuple(classes.values()),
        remarks=[f"{path.name}: {number} annotations ignored: {reason}" for reason, number in sorted(ignored.items())],
    )


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


def _categories(entries: Sequence[dict[str, Any]], path: Path) -> dict[int, str]:
    found: dict[int, str] = {}
    for number, entry in enumerate(entries):
        where = f"{path}: category number {number}"
        key = _integer(entry, "id", where)
        if key in found:
            raise InputError(f"{where}: id {key} is there twice; give each category its own")
        found[key] = _text(entry, "name", where)
    return found


def _images(entries: Sequence[dict[str, Any]], path: Path) -> dict[int, tuple[str, tuple[int, int] | None]]:
    found: dict[int, tuple[str, tuple[int, int] | None]] = {}
    for number, entry in enumerate(entries):
        where = f"{path}: image number {number}"
        key = _integer(entry, "id", where)
        if key in found:
            raise InputError(f"{where}: image id {key} is there twice; leave one of them out")
        shape = None
        if "width" in entry and "height" in entry:
            shape = _integer(entry, "width", where), _integer(entry, "height", where)
        found[key] = _text(entry, "file_name", where), shape
    return found


def _ignored(annotation: dict[str, Any], where: str) -> str:
    """Why an annotation does not count; empty if it does."""
    box = annotation.get("bbox")
    if box is None:
        return ""  # labels without boxes are labels all the same
    if not isinstance(box, list) or len(box) != 4 or not all(_finite(value) for value in box):
        raise InputError(f"{where} has the box {box!r:.80}; a box is four finite numbers: left, top, width, height")
    area = annotation.get("area", box[2] * box[3])
    if not _finite(area):
        raise InputError(f"{where} has the area {area!r:.80}; it must be a finite number")
    return "box without area, or with a side under 1 pixel" if area <= 0 or min(box[2:]) < SMALLEST_SIDE else ""


def _finite(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _integer(entry: dict[str, Any], key: str, where: str) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{where}: {key}={value!r:.80} must be a whole number")
    return value


def _text(entry: dict[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise InputError(f"{where}: {key}={value!r:.80} must be a text")
    return value


def _shown(entry: dict[str, Any], key: str) -> str:
    return f"{entry.get(key)!r:.40}"
