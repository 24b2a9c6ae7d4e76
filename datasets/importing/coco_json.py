"""Labels from a COCO instances file: an image holds the classes of its annotations.

Crowd annotations count; boxes without area or with a side under 1 pixel do not, as in the published data of COCO-MLT.
pycocotools reads the same labels (a test compares them), but indexes what it is given without any check.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import InputError, some_of
from .annotations import AnnotatedImage, Annotations
from .delimited import not_text, open_text
from .sizes import number_of, shape_of

SMALLEST_SIDE = 1.0
WHOLE_NUMBER = re.compile(r"(0|-?[1-9]\d*)(\.0*)?", re.ASCII)
# LVIS says of each image which categories were looked for, and found in part.
PARTLY_LABELLED = ("neg_category_ids", "not_exhaustive_category_ids")
LISTS = re.compile(r'"(images|annotations|categories)"\s*:\s*(\[\s*[\]{]|null)')
SEARCHED = 2**20


def is_coco_json(path: Path) -> bool:
    """Whether a JSON file is an object with a list of images, annotations or categories.

    Raises `InputError` if the file cannot be read.
    """
    try:
        with open_text(path) as file:
            before = file.read(SEARCHED).lstrip()
            is_object = before.startswith("{")
            while is_object and before:
                if LISTS.search(before):
                    return True
                # What was searched may end within a match.
                more = file.read(SEARCHED)
                before = before[-100:] + more if more else ""
            return False
    except UnicodeError as error:
        raise not_text(path) from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def read_coco_json(path: Path) -> Annotations:
    """Read a COCO instances JSON; its images have no splits.

    Ids are the same whatever their type: 5, 5.0 and "5". Raises `InputError` if it is no such file, an id is unknown or
    occurs twice, or a box is none; the entry is named.
    """
    content = _load(path)
    categories, images = _by_id(content, "categories", path), _by_id(content, "images", path)
    classes = {key: _text(entry, "name", where).strip() for key, (entry, where) in categories.items()}
    objects = []
    for number, annotation in enumerate(content["annotations"]):
        where = f"{path}: annotation number {number} (id {annotation.get('id')!r:.40})"
        image_id, category = _id(annotation, "image_id", where), _id(annotation, "category_id", where)
        if image_id not in images:
            raise InputError(f"{where} belongs to image {image_id}, which `images` lacks; remove it or add the image")
        if category not in classes:
            lacks = f"has category {category}, which `categories` lacks"
            raise InputError(f"{where} {lacks}; remove it or add the category")
        objects.append((image_id, classes[category], _area(annotation, where), _sides(annotation, where)))
    counted, remarks = _counted([area for *_, area, _ in objects], [sides for *_, sides in objects])
    held: dict[str, set[str]] = {key: set() for key in images}
    for (image_id, name, *_), counts in zip(objects, counted, strict=True):
        held[image_id].update({name} if counts else ())
    annotated = []
    for key, (entry, where) in images.items():
        shape = shape_of(entry.get("width"), entry.get("height"), where)
        file = _file(entry, where)
        annotated.append(AnnotatedImage(file=file, classes=frozenset(held[key]), shape=shape))
    if not objects:
        remarks.append(f"no annotations: its {len(images)} images have no label")
    if any(key in entry for entry, _ in images.values() for key in PARTLY_LABELLED):
        remarks.append("categories that were not looked for in an image (LVIS: in none of its lists) count as absent")
    return Annotations(
        images=tuple(annotated), classes=tuple(classes.values()), remarks=[f"{path.name}: {text}" for text in remarks]
    )


def _counted(
    areas: Sequence[float | None], sides: Sequence[tuple[float, float] | None]
) -> tuple[list[bool], list[str]]:
    """Whether each annotation counts, by its area and the sides of its box as far as they are known, and remarks."""
    remarks = []
    # Some programs write an area of 0, or boxes without size or in parts of the image, throughout.
    if not (has_areas := any(area is not None and area > 0 for area in areas)) and 0 in areas:
        remarks.append("all areas are 0: boxes say which annotations count")
    boxes = [box for box in sides if box is not None]
    if not (has_boxes := any(max(box) > SMALLEST_SIDE for box in boxes)) and boxes:
        remarks.append("no box has a side over 1 pixel: all annotations count")
    counted = []
    for area, box in zip(areas, sides, strict=True):
        if box is None or not has_boxes:
            counted.append(True)
            continue
        size = area if has_areas and area is not None else box[0] * box[1]
        counted.append(size > 0 and min(box) >= SMALLEST_SIDE)
    if ignored := counted.count(False):
        remarks.append(f"{ignored} annotations ignored: box without area, or with a side under 1 pixel")
    return counted, remarks


def _load(path: Path) -> dict[str, list[Any]]:
    try:
        with open_text(path) as file:
            content = json.load(file)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeError as error:
        raise not_text(path) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}") from error
    found = f"the keys {some_of(map(repr, content))}" if isinstance(content, dict) else f"{content!r:.60}"
    if isinstance(content, dict) and content.get("annotations") is None:
        content["annotations"] = []  # images alone, as of COCO's test split
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            lists = "images, annotations and categories (COCO instances)"
            raise InputError(f"{path} needs the lists {lists}; no {key!r}; it holds {found}")
        if not all(isinstance(entry, dict) for entry in content[key]):
            raise InputError(f"{path}: every entry of {key!r} must be an object")
    return content  # type: ignore[no-any-return]


def _by_id(content: Mapping[str, Sequence[Any]], key: str, path: Path) -> dict[str, tuple[dict[str, Any], str]]:
    """Images or categories by id, each with its place for messages."""
    kind = {"images": "image", "categories": "category"}[key]
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for number, entry in enumerate(content[key]):
        where = f"{path}: {kind} number {number}"
        if (own := _id(entry, "id", where)) in found:
            raise InputError(f"{where}: {kind} id {own} is there twice; give each {kind} its own")
        found[own] = entry, where
    return found


def _id(entry: Mapping[str, Any], key: str, where: str) -> str:
    """An id as text: of a whole number, whatever its type, its digits."""
    value = entry.get(key)
    if isinstance(value, str) and value.strip():
        whole = WHOLE_NUMBER.fullmatch(value.strip())
        return whole[1] if whole else value.strip()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{where}: {key}={value!r:.80} must be a whole number or a text")
    return str(value)


def _file(image: Mapping[str, Any], where: str) -> str:
    """The name of an image; LVIS has addresses in place of names."""
    if not image.get("file_name") and isinstance(address := image.get("coco_url"), str):
        return PurePosixPath(address).name
    return _text(image, "file_name", where)


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    if not isinstance(value := entry.get(key), str):
        raise InputError(f"{where}: {key}={value!r:.80} must be a text")
    return value


def _area(annotation: Mapping[str, Any], where: str) -> float | None:
    if (given := annotation.get("area")) in (None, ""):
        return None
    if (area := number_of(given)) is None:
        raise InputError(f"{where} has the area {given!r:.80}; it must be a finite number")
    return area


def _sides(annotation: Mapping[str, Any], where: str) -> tuple[float, float] | None:
    """Width and height of the box; None where there is none: labels without boxes are labels all the same."""
    box = annotation.get("bbox")
    if box is None or box == []:
        return None
    numbers = [number_of(value) for value in box] if isinstance(box, list) else []
    left_top_width_height = [number for number in numbers if number is not None]
    if len(numbers) != 4 or len(left_top_width_height) != 4:
        raise InputError(f"{where} has the box {box!r:.80}; a box is four finite numbers: left, top, width, height")
    return left_top_width_height[2], left_top_width_height[3]
