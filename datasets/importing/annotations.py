"""Labels of image files as every reader returns them, and the checks that hold for all of them."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, unknown_name
from ..long_tail.statistics import UNKNOWN

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
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
class Annotations:
    """What label files say: images in their order, C class names in column order, remarks on what was ignored."""

    images: tuple[AnnotatedImage, ...]
    classes: tuple[str, ...]
    remarks: Sequence[str] = field(default=())

    def labels(self) -> NDArray[np.uint8]:
        """The label matrix `(N, C)`."""
        column = {name: i for i, name in enumerate(self.classes)}
        labels = np.zeros((len(self.images), len(self.classes)), dtype=np.uint8)
        for row, image in zip(labels, self.images, strict=True):
            row[[column[name] for name in image.classes]] = 1
            row[[column[name] for name in image.unknown]] = UNKNOWN
        return labels


def checked(found: Annotations, source: Path) -> Annotations:
    """Return the annotations if the conditions of all imports hold.

    Raises `InputError` if there is no image or class, an image occurs twice, or a name cannot be used.
    """
    if not found.images:
        raise InputError(f"{source} names no image")
    if len(found.classes) < 2:
        raise InputError(f"{source} names {', '.join(found.classes) or 'no class'}; at least 2 classes are needed")
    for name in found.classes:
        check_name(name, f"class of {source}")
    if twice := [name for name in found.classes if found.classes.count(name) > 1]:
        raise InputError(f"{source} names the class {twice[0]!r} twice; give its classes different names")
    seen: set[PurePosixPath] = set()
    for image in found.images:
        check_name(image.file, f"image of {source}")
        path = PurePosixPath(image.file.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or not path.parts or path.parts[0].endswith(":"):
            raise InputError(f"{source}: image {image.file!r} lies outside the image folder; give paths below it")
        if PurePosixPath(image.file) in seen:  # ./a.jpg is a.jpg
            raise InputError(f"{source}: image {image.file!r} is there twice; leave one of its entries out")
        seen.add(PurePosixPath(image.file))
    if len({image.split is None for image in found.images}) > 1:
        bare = next(image.file for image in found.images if image.split is None)
        raise InputError(f"{source}: image {bare!r} has no split, others have; give each one, or none")
    return found


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
