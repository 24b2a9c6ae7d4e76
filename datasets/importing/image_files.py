"""Which file below a folder an image's name means, however its labels write it.

Labels are often made on another machine: names without ending, in other case or Unicode form, with back-slashes, with
folders above or below the given one. What is found is never guessed: one file, or an error.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ...errors import InputError, some_of
from ..images.decode import ENDINGS
from .annotations import SPLIT_NAMES, AnnotatedImage, normal_name

# Label Studio's address of a file on the machine that served it.
SERVED = "?d="


@dataclass(frozen=True, kw_only=True)
class FoundImages:
    """Images whose `file` is a path below one folder, and thereby an id; N paths; remarks for the user."""

    images: tuple[AnnotatedImage, ...]
    paths: tuple[str, ...]  # of each image, also where there is no such file
    remarks: tuple[str, ...]


def find_images(images: Sequence[AnnotatedImage], folders: Mapping[str | None, Path]) -> FoundImages:
    """Find the file of each image below the folder of all images (key None), or of its split.

    Where the labels give no splits and each split has a folder, an image is of the split in whose folder it is.

    Raises `InputError` if a name leads outside, means several files, or if two names mean one file or one record has
    names of two files; and if there is none of the files at all.
    """
    trees = {split: FileTree(folder) for split, folder in folders.items()}
    above = os.path.commonpath([tree.root for tree in trees.values()])
    paths, found, otherwise, missing = list[str](), list[AnnotatedImage](), list[str](), list[str]()
    first: dict[str, str] = {}
    for image in images:
        tree, file, split = _find(image, trees)
        if file is None:
            missing.append(image.file)
            tree, file = next(iter(trees.values())), "/".join(_parts(image.file)[0])
        path = f"{tree.root}/{file}"
        if (other := first.setdefault(path, image.file)) is not image.file:
            raise InputError(f"images {other!r} and {image.file!r} are one file, {path}; leave one of them out")
        name = normal_name(path[len(above) :].lstrip("/"))
        if normal_name(image.file).removeprefix("./") != name:
            otherwise.append(f"{image.file!r} is {name}")
        paths.append(path)
        found.append(replace(image, file=name, split=split, other_file=None))
    if len(missing) == len(images):
        raise _nothing_found(missing, trees)
    remark = f"{len(otherwise):,} images have other names than paths below the folder: {some_of(otherwise, 1)}"
    return FoundImages(images=tuple(found), paths=tuple(paths), remarks=(remark,) if otherwise else ())


def _find(image: AnnotatedImage, trees: Mapping[str | None, "FileTree"]) -> tuple["FileTree", str | None, str | None]:
    """Where an image is: a folder, the path below it if it is there, and its split."""
    if None in trees or image.split is not None:
        if (split := None if None in trees else image.split) not in trees:
            cure = f"give its folder: --images {image.split}=FOLDER"
            raise InputError(f"image {image.file!r} is in the split {image.split}, which has no folder; {cure}")
        return trees[split], _one_file(image, trees[split]), image.split
    there = [(tree, file, split) for split, tree in trees.items() if (file := _one_file(image, tree)) is not None]
    if len(there) > 1:
        files = " and ".join(f"{tree.root}/{file}" for tree, file, _ in there)
        raise InputError(
            f"image {image.file!r} means {files}; give a file of labels for each split: --labels SPLIT=FILE"
        )
    return there[0] if there else (next(iter(trees.values())), None, None)


def _one_file(image: AnnotatedImage, tree: "FileTree") -> str | None:
    names = [image.file] if image.other_file is None else [image.file, image.other_file]
    found = {name: tree.find(name, image.split) for name in names}
    clear = {name: files[0] for name, files in found.items() if len(files) == 1}
    if len(set(clear.values())) > 1:
        both = " and ".join(f"{name!r} ({file})" for name, file in clear.items())
        raise InputError(f"one annotation names two images that are both there, {both}; correct the name in it")
    if not clear and (several := next((files for files in found.values() if files), ())):
        cure = "give paths in the labels, or a folder for each split: --images SPLIT=FOLDER"
        there = f"{len(several)} files in {tree.root}, {some_of(several, 2)}"
        raise InputError(f"image {image.file!r} means {there}; {cure}")
    return next(iter(clear.values()), None)


def _nothing_found(missing: Sequence[str], trees: Mapping[str | None, "FileTree"]) -> InputError:
    roots = " and ".join(tree.root for tree in trees.values())
    there = sorted(file for tree in trees.values() for files in tree.by_stem.values() for file in files)
    holds = f"which holds {len(there):,} image files, such as {there[0]}" if there else "which holds no image file"
    return InputError(
        f"none of the {len(missing):,} images of the labels is below {roots}, {holds}; the labels name {missing[0]!r}. "
        "Give the folder that the images are below with --images, or the column of their names with --image-column"
    )


class FileTree:
    """The image files below a folder; they are listed once, when a name is not a path as it stands."""

    def __init__(self, root: Path) -> None:
        self.root = str(root.resolve())

    @cached_property
    def by_stem(self) -> dict[str, list[str]]:
        """Paths below the root by name without ending, in one case and Unicode form."""
        found: dict[str, list[str]] = {}
        seen: set[str] = set()
        for folder, folders, files in os.walk(self.root, followlinks=True):
            real = os.path.realpath(folder)
            folders[:] = sorted(name for name in folders if not name.startswith(".")) if real not in seen else []
            above = folder[len(self.root) + 1 :].replace(os.sep, "/")
            for name in sorted(files) if real not in seen else ():
                stem, ending = _stem_and_ending(name)
                if ending.lower() in ENDINGS and not name.startswith("."):
                    found.setdefault(_key(stem), []).append(f"{above}/{name}" if above else name)
            seen.add(real)
        return found

    def find(self, name: str, split: str | None = None) -> list[str]:
        """The files that a name may mean, as paths below the root: none, one, or several that nothing tells apart.

        Raises `InputError` if the name leads out of the folder.
        """
        parts, foreign = _parts(name)
        if not parts or ".." in parts:
            raise InputError(f"image {name!r} lies outside the image folder {self.root}; give paths below it")
        for direct in dict.fromkeys((name, "/".join(parts))) if not foreign else ():
            if Path(f"{self.root}/{direct}").is_file():
                return ["/".join(parts) if direct is not name else direct.removeprefix("./")]
        found = self._alike(parts)
        if len(found) > 1 and split is not None:
            found = [one for one in found if split in map(SPLIT_NAMES.get, one.lower().split("/"))] or found
        one = f"{self.root}/{found[0]}" if len(found) == 1 else None
        if foreign and one and (there := Path(name)).is_file() and not there.samefile(one):
            raise InputError(f"image {name!r} is there, and is another file than {one}; give paths below --images")
        return found

    def _alike(self, parts: Sequence[str]) -> list[str]:
        """Files whose path ends as the name does, or the other way round; those alone that agree in most parts."""
        wanted = [_key(part) for part in parts]
        stem, ending = _stem_and_ending(wanted[-1])
        best: list[str] = []
        most = 0
        whole = stem if ending in ENDINGS else wanted[-1]
        # A number that became one with a decimal point, as in `12.0` for `12.png`.
        for key in dict.fromkeys((whole, wanted[-1].removesuffix(".0"))):
            for candidate in self.by_stem.get(key, ()):
                there = _key(candidate).split("/")
                shared = min(len(there), len(wanted)) - 1
                if ending in ENDINGS and there[-1] != wanted[-1]:
                    continue
                if shared and there[-shared - 1 : -1] != wanted[-shared - 1 : -1]:
                    continue
                if shared > most or not best:
                    best, most = [candidate], shared
                elif shared == most:
                    best.append(candidate)
        return best


def _parts(name: str) -> tuple[list[str], bool]:
    """A name in parts, and whether it comes from another machine or place: an absolute path, or an address."""
    text, address = name, "://" in name
    if SERVED in name:
        text, address = unquote(name.partition(SERVED)[2]), True
    elif address:
        text = unquote(urlsplit(name).path)
    text = text.replace("\\", "/")
    drive = len(text) > 1 and text[1] == ":"
    parts = [part for part in text[2 * drive :].split("/") if part not in ("", ".")]
    return parts, address or drive or text.startswith("/")


def _stem_and_ending(name: str) -> tuple[str, str]:
    stem, dot, ending = name.rpartition(".")
    return (stem, dot + ending) if stem else (name, "")


def _key(text: str) -> str:
    return normal_name(text).casefold()
