"""Which file below a folder an image's name means, however its labels write it.

Labels are often made on another machine: names without ending, in other case or Unicode form, with back-slashes, with
folders above or below the given one. What is found is never guessed: one file, or an error.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
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
    paths: tuple[Path, ...]  # of each image, also where there is no such file
    remarks: tuple[str, ...]


def find_images(images: Sequence[AnnotatedImage], folders: Mapping[str | None, Path]) -> FoundImages:
    """Find the file of each image below the folder of all images (key None), or of its split.

    Where the labels give no splits and each split has a folder, an image is of the split in whose folder it is.

    Raises `InputError` if a name leads outside, means several files, or if two names mean one file or one record has
    names of two files; and if there is none of the files at all.
    """
    trees = {split: FileTree(folder) for split, folder in folders.items()}
    above = Path(os.path.commonpath([tree.root for tree in trees.values()]))
    paths, found, otherwise, missing = list[Path](), list[AnnotatedImage](), list[str](), list[str]()
    first: dict[Path, str] = {}
    for image in images:
        path, split = _find(image, trees)
        if path is None:
            missing.append(image.file)
            path = next(iter(trees.values())).root.joinpath(*_parts(image.file)[0])
        if (other := first.setdefault(path, image.file)) is not image.file:
            raise InputError(f"images {other!r} and {image.file!r} are one file, {path}; leave one of them out")
        name = normal_name(path.relative_to(above).as_posix())
        if PurePosixPath(normal_name(image.file)) != PurePosixPath(name):
            otherwise.append(f"{image.file!r} ({name})")
        paths.append(path)
        found.append(replace(image, file=name, split=split, other_file=None))
    if len(missing) == len(images):
        raise _nothing_found(missing, trees)
    remark = f"{len(otherwise):,} images are called otherwise than their files: {some_of(otherwise, 2)}"
    return FoundImages(images=tuple(found), paths=tuple(paths), remarks=(remark,) if otherwise else ())


def _find(image: AnnotatedImage, trees: Mapping[str | None, "FileTree"]) -> tuple[Path | None, str | None]:
    """The file of an image, and its split."""
    if None in trees or image.split is not None:
        if (split := None if None in trees else image.split) not in trees:
            cure = f"give its folder: --images {image.split}=FOLDER"
            raise InputError(f"image {image.file!r} is in the split {image.split}, which has no folder; {cure}")
        return _one_file(image, trees[split]), image.split
    there = {split: path for split, tree in trees.items() if (path := _one_file(image, tree)) is not None}
    if len(there) > 1:
        folders = " and ".join(map(str, there.values()))
        raise InputError(
            f"image {image.file!r} means {folders}; give a file of labels for each split: --labels SPLIT=FILE"
        )
    return next(((path, split) for split, path in there.items()), (None, None))


def _one_file(image: AnnotatedImage, tree: "FileTree") -> Path | None:
    names = [image.file] if image.other_file is None else [image.file, image.other_file]
    found = {name: tree.find(name, image.split) for name in names}
    clear = {name: paths[0] for name, paths in found.items() if len(paths) == 1}
    if len(set(clear.values())) > 1:
        both = " and ".join(f"{name!r} ({path})" for name, path in clear.items())
        raise InputError(f"one annotation names two images that are both there, {both}; correct the name in it")
    if not clear and (several := next((paths for paths in found.values() if paths), ())):
        cure = "give paths in the labels, or a folder for each split: --images SPLIT=FOLDER"
        raise InputError(f"image {image.file!r} means {len(several)} files, {some_of(map(str, several), 2)}; {cure}")
    return next(iter(clear.values()), None)


def _nothing_found(missing: Sequence[str], trees: Mapping[str | None, "FileTree"]) -> InputError:
    roots = " and ".join(str(tree.root) for tree in trees.values())
    there = sorted("/".join(parts) for tree in trees.values() for files in tree.by_stem.values() for parts in files)
    holds = f"which holds {len(there):,} image files, such as {there[0]}" if there else "which holds no image file"
    return InputError(
        f"none of the {len(missing):,} images of the labels is below {roots}, {holds}; the labels name {missing[0]!r}. "
        "Give the folder that the images are below with --images, or the column of their names with --image-column"
    )


class FileTree:
    """The image files below a folder; they are listed once, when a name is not a path as it stands."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    @cached_property
    def by_stem(self) -> dict[str, list[tuple[str, ...]]]:
        """Paths below the root, in parts, by name without ending in one case and Unicode form."""
        found: dict[str, list[tuple[str, ...]]] = {}
        seen: set[str] = set()
        for folder, folders, files in os.walk(self.root, followlinks=True):
            real = os.path.realpath(folder)
            folders[:] = sorted(name for name in folders if not name.startswith(".")) if real not in seen else []
            above = Path(folder).relative_to(self.root).parts
            for name in sorted(files) if real not in seen else ():
                stem, ending = PurePosixPath(name).stem, PurePosixPath(name).suffix
                if ending.lower() in ENDINGS and not name.startswith("."):
                    found.setdefault(_key(stem), []).append((*above, name))
            seen.add(real)
        return found

    def find(self, name: str, split: str | None = None) -> list[Path]:
        """The files that a name may mean: none, one, or several that nothing tells apart.

        Raises `InputError` if the name leads out of the folder.
        """
        parts, foreign = _parts(name)
        if not parts or ".." in parts:
            raise InputError(f"image {name!r} lies outside the image folder {self.root}; give paths below it")
        for direct in (self.root / name, self.root.joinpath(*parts)) if not foreign else ():
            if direct.is_file():
                return [direct]
        found = self._alike(parts)
        if len(found) > 1 and split is not None:
            found = [one for one in found if split in map(SPLIT_NAMES.get, map(str.lower, one))] or found
        paths = [self.root.joinpath(*one) for one in found]
        if foreign and len(paths) == 1 and (there := Path(name)).is_file() and not there.samefile(paths[0]):
            raise InputError(f"image {name!r} is there, and is another file than {paths[0]}; give paths below --images")
        return paths

    def _alike(self, parts: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Files whose path ends as the name does, or the other way round; those alone that agree in most parts."""
        wanted = [_key(part) for part in parts]
        stem, ending = PurePosixPath(wanted[-1]).stem, PurePosixPath(wanted[-1]).suffix
        best: list[tuple[str, ...]] = []
        most = 0
        whole = stem if ending in ENDINGS else wanted[-1]
        # A number that became one with a decimal point, as in `12.0` for `12.png`.
        for key in dict.fromkeys((whole, wanted[-1].removesuffix(".0"))):
            for candidate in self.by_stem.get(key, ()):
                there = [_key(part) for part in candidate]
                if ending in ENDINGS and there[-1] != wanted[-1]:
                    continue
                shared = min(len(there), len(wanted)) - 1
                if shared and there[-shared - 1 : -1] != wanted[-shared - 1 : -1]:
                    continue
                if shared > most or not best:
                    best, most = [candidate], shared
                elif shared == most:
                    best.append(candidate)
        return best


def _parts(name: str) -> tuple[tuple[str, ...], bool]:
    """A name in parts, and whether it comes from another machine or place: an absolute path, or an address."""
    text, address = name, "://" in name
    if SERVED in name:
        text, address = unquote(name.partition(SERVED)[2]), True
    elif address:
        text = unquote(urlsplit(name).path)
    text = text.replace("\\", "/")
    drive = len(text) > 1 and text[1] == ":"
    parts = tuple(part for part in text[2 * drive :].split("/") if part not in ("", "."))
    return parts, address or drive or text.startswith("/")


def _key(text: str) -> str:
    return normal_name(text).casefold()
