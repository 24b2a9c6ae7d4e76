"""Labels from a folder of VOC XML files, read so that no entity is expanded and nothing outside is fetched."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from ...errors import InputError
from .annotations import AnnotatedImage, Annotations

MOST_BYTES = 16 * 2**20


def read_voc_file(path: Path) -> AnnotatedImage:
    """Read one annotation; raises `InputError` if it is no VOC annotation, or declares entities."""
    root = _parse(path)
    if root.tag != "annotation":
        raise InputError(f"{path}: the root element is {root.tag!r:.40}, not annotation")
    sure, difficult = set[str](), set[str]()
    for number, entry in enumerate(root.iter("object")):
        name = (entry.findtext("name") or "").strip()
        if not name:
            raise InputError(f"{path}: object number {number} has no name")
        (difficult if (entry.findtext("difficult") or "0").strip() == "1" else sure).add(name)
    file, held = (root.findtext("filename") or "").strip() or f"{path.stem}.jpg", frozenset(sure | difficult)
    return AnnotatedImage(file=file, classes=held, difficult=held - sure, shape=_shape(root, path))


def read_voc_folder(folder: Path, *, difficult: bool = True) -> Annotations:
    """Read a folder with one XML per image, such as `VOC2012/Annotations`; splits come from `ImageSets/Main` beside it.

    Raises `InputError` if a file cannot be used.
    """
    files = sorted(folder.glob("*.xml"))
    if not files:
        raise InputError(f"{folder} holds no .xml; give the folder of annotations, such as VOC2012/Annotations")
    splits = _given_splits(folder.parent / "ImageSets" / "Main")
    found = [(path, read_voc_file(path)) for path in files]
    images = []
    for path, image in found:
        if not splits or path.stem in splits:
            held = image.classes if difficult else image.classes - image.difficult
            images.append(replace(image, classes=held, split=splits.get(path.stem)))
    classes = sorted({name for _, image in found for name in image.classes})
    if missing := sorted(set(splits) - {path.stem for path in files}):
        raise InputError(f"{folder} has no annotation of {missing[0]!r} ({len(missing)} of the image sets' names)")
    unlisted = len(found) - len(images)
    remarks = [f"{unlisted} annotations are in no list of ImageSets/Main: left out"] if unlisted else []
    return Annotations(images=tuple(images), classes=tuple(classes), remarks=remarks)


def read_image_set(path: Path) -> list[str]:
    """Names of an image set, one a line; raises `InputError` if the file cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the image set {path}: {error}") from error
    return [line.split()[0] for line in lines if line.strip()]


def _given_splits(folder: Path) -> dict[str, str]:
    """Split of each name by train.txt (else trainval.txt), val.txt and test.txt; empty where none is there."""
    train = "train" if (folder / "train.txt").is_file() else "trainval"
    splits: dict[str, str] = {}
    for image_set, split in ((train, "train"), ("val", "validation"), ("test", "test")):
        path = folder / f"{image_set}.txt"
        for name in read_image_set(path) if path.is_file() else ():
            if splits.setdefault(name, split) != split:
                raise InputError(f"{path}: {name!r} is in another image set too; each image has one split")
    return splits


def _parse(path: Path) -> Element:
    try:
        whole = path.stat().st_size <= MOST_BYTES
        parsed: Any = fromstring(path.read_bytes(), forbid_dtd=True) if whole else None
    except DefusedXmlException as error:
        raise InputError(f"{path} declares a document type or entities ({error}); remove the declaration") from error
    except (ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path} is no well-formed XML: {error}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if parsed is None:
        raise InputError(f"{path} has more than {MOST_BYTES:,} bytes; no annotation is that long")
    return parsed  # type: ignore[no-any-return]


def _shape(root: Element, path: Path) -> tuple[int, int] | None:
    width, height = root.findtext("size/width"), root.findtext("size/height")
    if width is None or height is None:
        return None
    try:
        return int(width), int(height)
    except ValueError as error:
        raise InputError(f"{path}: the size {width!r:.20} x {height!r:.20} is not in whole pixels") from error
