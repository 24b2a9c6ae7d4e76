"""Word vectors of class names, for heads that use the names: from a file, or made without any download."""

import gzip
import hashlib
import re
import unicodedata
import zlib
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from statistics import mode
from typing import IO

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from rich import progress
from rich.console import Console

from ..errors import InputError, some_of
from .prepared.array_files import DAMAGE

DIMENSIONS = 300
# Joined names of VOC, by the words whose vectors ML-GCN's published vectors of VOC hold: `tv` exactly (it is that of
# COCO's `tv`), `table` and `plant` in length and direction. Its other names are words of their own.
ALIASES = {"diningtable": "table", "pottedplant": "plant", "tvmonitor": "tv"}
# From this size on, reading shows its progress.
LARGE_FILE = 50_000_000
# Lines by which the length of all is known, even if some of them have words with blanks.
SAMPLE = 21
GZIP = b"\x1f\x8b"
LETTERS = re.compile(r"[^\W_]+")
GENITIVE = re.compile(r"['\u2019]s\b")
# Between the words of `PottedPlant`, `TVMonitor` and `red1`.
CAPITALS = re.compile(
    r"(?<=[a-z\u00df-\u00ff])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d])(?=\d)|(?<=\d)(?=[^\W\d])"
)


@dataclass(frozen=True, eq=False, kw_only=True)
class WordVectors:
    """One vector per class, `(C, D)`; `source` says where they come from, for people to read."""

    vectors: NDArray[np.float32]
    source: str

    @property
    def digest(self) -> str:
        """SHA-256 of the vectors."""
        return hashlib.sha256(np.ascontiguousarray(self.vectors).data).hexdigest()


def hashed_word_vectors(classes: Sequence[str], *, dimensions: int = DIMENSIONS) -> WordVectors:
    """The default that needs no download: a fixed Gaussian vector of length 1 per name, which carries no meaning.

    Averaging vectors of a name's words instead (so that `red 1` is near `red 2`) lost 5 points of total mAP and 11 of
    tail mAP on Digits-MLT's validation split (ML-GCN, seed 0: 68.8 / 41.6 against 73.3 / 52.4).

    >>> hashed_word_vectors(["red 1", "red 2"]).vectors.shape
    (2, 300)
    """
    rows = []
    for name in classes:
        seed = int.from_bytes(hashlib.sha256(name.lower().encode()).digest()[:4], "big")
        vector = RandomState(seed).standard_normal(dimensions)
        rows.append(vector / np.linalg.norm(vector))
    return WordVectors(vectors=np.stack(rows).astype(np.float32), source="hashed names (no file given)")


def read_word_vectors(path: Path, classes: Sequence[str]) -> WordVectors:
    """Word vectors of the classes from an `.npz` with `vectors` (C, D) and `classes` (C,), or from a text.

    A line of a text has a word and D numbers, as GloVe, word2vec and fastText write it, perhaps compressed with gzip;
    the needed ones alone are kept. A name of several words is the mean of its words, which `words_of` finds.

    Raises `InputError` if the file cannot be read, or a class is not in it.
    """
    if not path.is_file():
        cure = "give a GloVe text file or an .npz with classes and vectors"
        raise InputError(f"no file of word vectors at {path}; {cure}")
    state = path.stat()
    vectors = _read(path, state.st_size, state.st_mtime_ns, tuple(classes))
    return WordVectors(vectors=vectors.copy(), source=path.name)


@lru_cache(maxsize=8)
def _read(path: Path, size: int, time: int, classes: tuple[str, ...]) -> NDArray[np.float32]:
    """Kept as long as the file's size and time do not change: a plan asks for each of its experiments."""
    arrays = path.suffix == ".npz"
    table = _read_npz(path, classes) if arrays else _read_text(path, classes)
    rows, missing = [], {}
    for name in classes:
        words, unknown = ([name], []) if arrays and name in table else words_of(name, table)
        rows.append([table[word] for word in words])
        if unknown or not words:
            missing[name] = unknown
    if missing:
        named = [name if words == [name] else f"{name} ({', '.join(words)})" for name, words in missing.items()]
        raise InputError(
            f"{path} lacks words of {len(missing)} of {len(classes)} classes: {some_of(named, shown=5)}; add lines of "
            "these, give an .npz with classes and vectors, or leave --word-vectors out for vectors made from the names"
        )
    return np.stack([np.mean(row, axis=0) for row in rows]).astype(np.float32)


def words_of(name: str, table: Container[str]) -> tuple[list[str], list[str]]:
    """The words of a table that make up a class name, and those that are not in it.

    A name is divided at blanks and underscores. Each part is taken in small letters, else as it is written, with other
    signs (`hair_drier`, `hairdrier`), or divided at signs and capitals. A name whose parts are not all there may be
    there as one word. VOC's joined names have the words of `ALIASES`.

    >>> words_of("Nodule/Mass (left)", {"nodule", "mass", "left"})
    (['nodule', 'mass', 'left'], [])
    >>> words_of("traffic light", {"traffic"})
    (['traffic'], ['light'])
    """
    if (alias := ALIASES.get(name.lower())) and alias in table:
        return [alias], []
    found: list[str] = []
    missing = []
    for part in _parts(name):
        words = next((words for words in _spellings(part) if all(word in table for word in words)), ())
        found += words
        missing += [] if words else [word for word in map(str.lower, _signs(part)) if word not in table] or [part]
    joined = next((word for word in _joined(_signs(name)) if word in table), None) if missing else None
    return ([joined], []) if joined else (found, missing)


def _parts(name: str) -> list[str]:
    """What lies between the blanks and underscores of a name, without what has no letter and no digit."""
    return [part for part in unicodedata.normalize("NFC", name).replace("_", " ").split() if LETTERS.search(part)]


def _signs(text: str) -> list[str]:
    """What lies between the signs of a text, without a genitive s."""
    return LETTERS.findall(GENITIVE.sub("", unicodedata.normalize("NFC", text)))


def _spellings(word: str) -> list[tuple[str, ...]]:
    """The words that may stand for a part of a name, the best first."""
    divided = _signs(word)
    capitals = CAPITALS.sub(" ", " ".join(divided)).split()
    single = [word.lower(), word, *_joined(divided), word.capitalize(), word.upper()]
    several = [tuple(words) for parts in (divided, capitals) for words in (map(str.lower, parts), parts)]
    return [*((one,) for one in single), *several]


def _joined(parts: Sequence[str]) -> list[str]:
    """Parts as one word, in small letters and as they are."""
    return [form for sign in ("-", "_", "") for form in (sign.join(parts).lower(), sign.join(parts))]


def _read_npz(path: Path, classes: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            vectors, names = arrays["vectors"], arrays["classes"].tolist() if "classes" in arrays.files else None
            if names is not None:
                table = dict(zip(names, vectors, strict=True))
    except DAMAGE as error:
        raise InputError(f"{path} must hold the arrays `classes` (C,) and `vectors` (C, D): {error}") from error
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise InputError(f"{path}: `vectors` is {vectors.dtype} {vectors.shape}, and must be numbers (C, D)")
    # Files without names exist, some in alphabetical order: taken in the dataset's, every vector would be wrong.
    if names is None:
        if list(classes) != sorted(classes) or len(vectors) != len(classes):
            raise InputError(
                f"{path} must hold the arrays `classes` (C,) and `vectors` (C, D); without `classes` nothing says "
                f"which of its rows {vectors.shape} belongs to which of the {len(classes)} names. Save it with their "
                "names: np.savez(FILE, classes=names, vectors=vectors)"
            )
        table = dict(zip(classes, vectors, strict=True))
    for name, vector in table.items():
        if not np.isfinite(vector).all():
            raise InputError(f"{path}: the vector of {name!r} has values that are not finite")
    return table


def _read_text(path: Path, classes: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Rows of the words that may be needed; reading ends when the first choice for each is there, as it mostly is."""
    first, possible = set(), set()
    for name in classes:
        alias = ALIASES.get(name.lower())
        parts = _parts(name)
        first |= {alias} if alias else {part.lower() for part in parts}
        possible |= {word for part in parts for words in _spellings(part) for word in words}
        possible |= {alias or "", *_joined(_signs(name))}
    wanted = {word.encode(): word for word in possible - {""}}
    table: dict[str, NDArray[np.float32]] = {}
    text, small, console = f"reading {path.name}", path.stat().st_size < LARGE_FILE, Console(stderr=True)
    with path.open("rb") as start:
        compressed = start.read(2) == GZIP
    with progress.open(path, "rb", description=text, console=console, transient=True, disable=small) as raw:
        file: IO[bytes] = gzip.GzipFile(fileobj=raw) if compressed else raw  # type: ignore[assignment]
        try:
            beginning = list(islice(file, SAMPLE))
            dimension, header = _dimension(path, beginning)
            for number, line in enumerate(chain(beginning[header:], file), start=1 + header):
                # To divide few lines costs little; from the right, as GloVe has words with blanks.
                if line.partition(b" ")[0].partition(b"\t")[0] not in wanted:
                    continue
                word, *numbers = line.rstrip().rsplit(None, dimension)
                if word not in wanted or wanted[word] in table:
                    continue
                table[wanted[word]] = _vector(path, number, numbers, dimension)
                first.discard(wanted[word])
                if not first:
                    break
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path} is damaged or was cut off ({error}); fetch it again") from error
    return table


def _dimension(path: Path, lines: Sequence[bytes]) -> tuple[int, bool]:
    """How many numbers a line of a text has, by its header or its first lines, and whether it has a header."""
    numbers = [len(line.split()) - 1 for line in lines]
    header = lines[0].split() if lines else []
    has_header = len(header) == 2 and all(piece.isdigit() for piece in header) and int(header[1]) > 1
    dimension = int(header[1]) if has_header else mode(numbers) if numbers else 0
    rows = lines[has_header:]
    try:
        good = (
            dimension > 0 and bool(rows) and np.isfinite(np.array(rows[0].split()[-dimension:], dtype=np.float32)).all()
        )
    except ValueError:
        good = False
    if not good:
        raise InputError(
            f"{path} is no text of word vectors: a line is a word and its numbers, all equally many; it begins with "
            f"{lines[0][:40] if lines else b''!r}. Unpack archives, save binary files as text (gensim: "
            "save_word2vec_format), and pickles as .npz with classes and vectors"
        )
    return dimension, has_header


def _vector(path: Path, number: int, numbers: Sequence[bytes], dimension: int) -> NDArray[np.float32]:
    try:
        vector = np.array(numbers, dtype=np.float32)
    except ValueError as error:
        raise InputError(f"{path}, line {number}: {error}; a line is a word and its numbers") from error
    if len(vector) != dimension or not np.isfinite(vector).all():
        raise InputError(f"{path}, line {number} has {len(vector)} finite numbers, not {dimension}")
    return vector
