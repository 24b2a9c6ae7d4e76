"""Labels of image files as every reader returns them, and the checks that hold for all of them."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, some_of, unknown_name
from ..long_tail.statistics import UNKNOWN

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# How tables call the column of the images, in any case; the first that is there counts.
IMAGE_COLUMNS = (
    *("image", "images", "file_name", "filename", "file", "files", "path", "image_path", "filepath", "image_file"),
    *("image_name", "image index", "imageid", "image_id", "img", "dicom_id", "id"),
)
LONGEST_NAME = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class AnnotatedImage:
    """One image with its class names."""

    file: str  # as its labels name it: a path below the image folder, or an id without ending
    classes: frozenset[str]
    unknown: frozenset[str] = frozenset()  # classes of which nothing is known in it
    split: str | None = None  # `train`, `validation` or `test`; None where none was given
    group: str | None = None  # patient, study or video, which no two splits share
    shape: tuple[int, int] | None = None  # width and height by its annotation
    difficult: frozenset[str] = frozenset()  # classes all of whose objects in it are marked difficult, as VOC does
    other_file: str | None = None  # what the same record calls its file in a second place, where that differs


@dataclass(frozen=True, kw_only=True)
class LikelyGroups:
    """Groups that images seem to have, though nobody said so, and the option that says so."""

    cure: str
    group_of: Mapping[str, str | None]  # by the file of an image


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What label files say: images in their order, C class names in column order, remarks on what was ignored."""

    images: tuple[AnnotatedImage, ...]
    classes: tuple[str, ...]
    remarks: Sequence[str] = field(default=())
    likely_groups: LikelyGroups | None = None
    # Write pictures that the label files hold below a folder, under their names.
    save_images: Sequence[Callable[[Path], None]] = ()

    def labels(self) -> NDArray[np.uint8]:
        """The label matrix `(N, C)`."""
        column = {name: i for i, name in enumerate(self.classes)}
        labels = np.zeros((len(self.images), len(self.classes)), dtype=np.uint8)
        for row, image in zip(labels, self.images, strict=True):
            row[[column[name] for name in image.classes]] = 1
            row[[column[name] for name in image.unknown]] = UNKNOWN
        return labels


def checked(found: Annotations, source: Path) -> Annotations:
    """Return the annotations with names in one Unicode form, if the conditions of all imports hold.

    Raises `InputError` if there is no image or class, an image occurs twice, or a name cannot be used.
    """
    if not found.images:
        raise InputError(f"{source} names no image")
    if len(set(found.classes)) < len(found.classes):
        twice = next(name for name in found.classes if found.classes.count(name) > 1)
        raise InputError(f"{source} names the class {twice!r} twice; give its classes different names")
    found = renamed(found, {name: normal_name(name) for name in found.classes})
    if len(found.classes) < 2:
        raise InputError(f"{source} names {', '.join(found.classes) or 'no class'}; at least 2 classes are needed")
    for name in found.classes:
        check_name(name, f"class of {source}")
    if alike := _alike(found.classes):
        found = replace(found, remarks=[*found.remarks, f"{source}: classes of nearly one name: {some_of(alike)}"])
    seen: set[tuple[str | None, str]] = set()
    for image in found.images:
        check_name(image.file, f"image of {source}")
        # Each split may have a folder with an image of that name.
        key = image.split, normal_name(image.file).removeprefix("./")
        if key in seen:
            raise InputError(f"{source}: image {image.file!r} is there twice; leave one of its entries out")
        seen.add(key)
    return found


def normal_name(name: str) -> str:
    """A name without blanks around it, and with composed letters (NFC), as most programs write them.

    >>> normal_name(" u\u0308") == "\u00fc"
    True
    """
    return unicodedata.normalize("NFC", name.strip())


def renamed(found: Annotations, names: Mapping[str, str]) -> Annotations:
    """The annotations with other names of classes; classes that have one name then are one."""
    if all(old == new for old, new in names.items()):
        return found
    images = []
    for image in found.images:
        given = image.classes, image.unknown, image.difficult
        held, unknown, difficult = (frozenset(names[name] for name in some) for some in given)
        images.append(replace(image, classes=held, unknown=unknown - held, difficult=difficult))
    classes = tuple(dict.fromkeys(names[name] for name in found.classes))
    return replace(found, images=tuple(images), classes=classes)


def _alike(classes: Sequence[str]) -> list[str]:
    """Names that differ in case, blanks or hyphens alone, as `'cat', 'Cat'`."""
    same: dict[str, list[str]] = {}
    for name in classes:
        same.setdefault(re.sub(r"[\s_-]+", "", name).casefold(), []).append(repr(name))
    return [" and ".join(names) for names in same.values() if len(names) > 1]


def check_name(name: str, what: str) -> None:
    """Raise `InputError` unless a name can be used in tables, file names and digests."""
    if not name.strip() or len(name) > LONGEST_NAME:
        raise InputError(f"{what}: a name has 1 to {LONGEST_NAME} characters; got {name[:40]!r} ({len(name)})")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        raise InputError(f"{what}: {name!r} holds control characters or line ends; rename it")


def split_name(text: str, where: str) -> str:
    """The split that a word means; raises `InputError` if it means none.

    >>> split_name("val", "row 2")
    'validation'
    """
    if (word := text.strip().lower()) not in SPLIT_NAMES:
        raise unknown_name(f"split ({where})", text, SPLIT_NAMES)
    return SPLIT_NAMES[word]
