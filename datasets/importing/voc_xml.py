"""Labels from a folder of VOC XML files, read so that no entity is expanded and nothing outside is fetched."""

import codecs
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from ...errors import InputError
from .annotations import SPLIT_NAMES, AnnotatedImage, Annotations
from .sizes import shape_of
from .typed_cells import names_file

MOST_BYTES = 16 * 2**20
DIFFICULT = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}
DECLARATION = re.compile(r"<\?xml\b[^>]*?(?:encoding\s*=\s*[\"']([\w.:-]+)[\"'][^>]*)?\?>", re.ASCII)
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Files say the older of two encodings, of which the newer one has all characters.
NEWER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932"}
# Lists of one class say whether it is there: the name of an image, then -1, 0 or 1.
MARKED = re.compile(r"(.*\S)\s+(-1|0|1)")


def read_voc_file(path: Path) -> AnnotatedImage:
    """Read one annotation; raises `InputError` if it is no VOC annotation, or declares entities."""
    root = _parse(path)
    if root.tag != "annotation":
        raise InputError(f"{path}: the root element is {root.tag!r:.40}, not annotation")
    sure, difficult = set[str](), set[str]()
    for number, entry in enumerate(root.iter("object")):
        name = " ".join((entry.findtext("name") or "").split())
        if not name:
            raise InputError(f"{path}: object number {number} has no name")
        given = (entry.findtext("difficult") or "").strip()
        if (flag := given.lower().removesuffix(".0")) not in DIFFICULT:
            raise InputError(f"{path}: object number {number} has difficult={given!r:.40}; it must be 0 or 1")
        (difficult if DIFFICULT[flag] else sure).add(name)
    file, held = (root.findtext("filename") or "").strip() or path.stem, frozenset(sure | difficult)
    shape = shape_of(root.findtext("size/width"), root.findtext("size/height"), str(path))
    return AnnotatedImage(file=file, classes=held, difficult=held - sure, shape=shape)


def read_voc_folder(folder: Path, *, difficult: bool = True) -> Annotations:
    """Read a folder with one XML per image, such as `VOC2012/Annotations`, and what is below it.

    Splits come from `ImageSets/Main` beside or in it, else from sub-folders that are called by splits. Raises
    `InputError` if a file cannot be used.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".xml" and path.name[0] != ".")
    if not files:
        raise InputError(f"{folder} holds no .xml; give the folder of annotations, such as VOC2012/Annotations")
    stems = [path.relative_to(folder).with_suffix("").as_posix() for path in files]
    found = list(_named(list(map(read_voc_file, files)), stems))
    classes = sorted({name for image in found for name in image.classes})
    remarks = []
    splits: Mapping[int, str | None]
    if listed := _lists(folder):
        splits = _listed_splits(listed, stems, found, folder)
        if unlisted := len(found) - len(splits):
            remarks.append(f"{unlisted} annotations are in no list of ImageSets/Main: left out")
    else:
        splits = dict(enumerate(_folder_splits(stems)))
        if splits[0] is not None:
            remarks.append(f"splits by the sub-folders {', '.join(sorted({stem.split('/')[0] for stem in stems}))}")
    images = []
    for i, split in sorted(splits.items()):
        held = found[i].classes if difficult else found[i].classes - found[i].difficult
        images.append(replace(found[i], classes=held, split=split))
    return Annotations(images=tuple(images), classes=tuple(classes), remarks=remarks)


def read_image_set(path: Path) -> list[str]:
    """Lines of an image set, a name each; raises `InputError` if the file cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the image set {path}: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def _named(images: Sequence[AnnotatedImage], stems: Sequence[str]) -> Iterator[AnnotatedImage]:
    """Images with the name that tells them apart, and the other one where <filename> and XML have different names."""
    lasts = [PureWindowsPath(image.file).name for image in images]
    times, times_whole = Counter(map(str.lower, lasts)), Counter(image.file.lower() for image in images)
    for image, last, stem in zip(images, lasts, stems, strict=True):
        name = PurePosixPath(stem).name
        differs = name.lower() not in (last.lower(), PurePosixPath(last).stem.lower())
        if times[last.lower()] == 1:
            yield replace(image, file=last, other_file=stem if differs else None)
        elif times_whole[image.file.lower()] == 1:
            yield replace(image, other_file=stem if differs else None)
        else:
            yield replace(image, file=stem, other_file=last if differs else None)


def _lists(folder: Path) -> dict[Path, str]:
    """The image sets with their splits: train.txt (else trainval.txt), val.txt and test.txt."""
    for place in (folder.parent / "ImageSets" / "Main", folder / "ImageSets" / "Main"):
        train = "train" if (place / "train.txt").is_file() else "trainval"
        wanted = {place / f"{train}.txt": "train", place / "val.txt": "validation", place / "test.txt": "test"}
        if found := {path: split for path, split in wanted.items() if path.is_file()}:
            return found
    return {}


def _listed_splits(
    lists: Mapping[Path, str], stems: Sequence[str], images: Sequence[AnnotatedImage], folder: Path
) -> dict[int, str]:
    """The split of each listed annotation, which a list names with or without ending and folder."""
    spellings = (
        stems,
        [PurePosixPath(stem).name for stem in stems],
        [PureWindowsPath(image.file).name for image in images],
        [PurePosixPath(PureWindowsPath(image.file).name).stem for image in images],
    )
    known: dict[str, set[int]] = {}
    for names in spellings:
        here: dict[str, set[int]] = {}
        for i, name in enumerate(names):
            here.setdefault(name, set()).add(i)
        known = here | known
    splits: dict[int, str] = {}
    missing = []
    for path, split in lists.items():
        for line in read_image_set(path):
            marked = MARKED.fullmatch(line)
            texts = [text.replace("\\", "/") for text in (line, *([marked[1]] if marked else []))]
            names = [name for text in texts for name in (text, PurePosixPath(text).name)]
            names += [name.rpartition(".")[0] for name in names if names_file(name)]
            meant = next((known[name] for name in names if name in known), set[int]())
            if not meant:
                missing.append(line)
            elif len(meant) > 1:
                several = " and ".join(sorted(stems[i] for i in meant))
                raise InputError(f"{path}: {line!r} means the annotations {several}; give their folders in the list")
            elif splits.setdefault(i := next(iter(meant)), split) != split:
                raise InputError(f"{path}: {line!r} is in another image set too; each image has one split")
    if missing:
        raise InputError(f"{folder} has no annotation of {missing[0]!r} ({len(missing)} of the image sets' names)")
    return splits


def _folder_splits(stems: Sequence[str]) -> list[str | None]:
    """Splits by the first folder of each annotation, where all lie in folders that are called by splits."""
    splits = [SPLIT_NAMES.get(stem.split("/")[0].lower()) if "/" in stem else None for stem in stems]
    return splits if all(splits) else [None] * len(stems)


def _parse(path: Path) -> Element:
    try:
        whole = path.stat().st_size <= MOST_BYTES
        parsed: Any = fromstring(_in_utf8(path.read_bytes()), forbid_dtd=True) if whole else None
    except DefusedXmlException as error:
        raise InputError(f"{path} declares a document type or entities ({error}); remove the declaration") from error
    except UnicodeError as error:
        raise InputError(f"{path} is not in the encoding that it declares: {error}; save it as UTF-8") from error
    except (ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path} is no well-formed XML: {error}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if parsed is None:
        raise InputError(f"{path} has more than {MOST_BYTES:,} bytes; no annotation is that long")
    return parsed  # type: ignore[no-any-return]


def _in_utf8(data: bytes) -> bytes:
    """XML in an encoding that Python knows, without its declaration, in UTF-8, as the parser knows few others."""
    data = data.lstrip()
    start = data[:200].decode("latin-1")
    if data.startswith(UTF16):
        text = data.decode("utf-16")
    elif (declared := DECLARATION.match(start)) and declared[1] and not declared[1].lower().startswith("utf"):
        text = data.decode(NEWER.get(declared[1].lower(), declared[1]))
    elif declared:  # UTF-16, say, which it cannot be where the declaration can be read
        text = data.decode()
    else:
        return data
    return DECLARATION.sub("", text.lstrip(), count=1).encode()
