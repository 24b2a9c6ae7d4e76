"""Word vectors of class names, for heads that use the names: from a file, or made without any download."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from rich import progress
from rich.console import Console

from ..errors import InputError
from .prepared.array_files import DAMAGE

DIMENSIONS = 300
# Joined names of VOC, by the words whose vectors ML-GCN's published vectors of VOC hold: `tv` exactly (it is that of
# COCO's `tv`), `table` and `plant` in length and direction. Its other names are words of their own.
ALIASES = {"diningtable": "table", "pottedplant": "plant", "tvmonitor": "tv"}
# From this size on, reading shows its progress.
LARGE_FILE = 50_000_000


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
    """Word vectors of the classes from an `.npz` with `vectors` (C, D) and `classes` (C,), or from GloVe's text format.

    A line of GloVe's has a word and D numbers; the needed ones alone are kept. A name of several words is the mean of
    its words; VOC's joined names have the words of `ALIASES`.

    Raises `InputError` if the file cannot be read, or a class is not in it.
    """
    if not path.is_file():
        cure = "give a GloVe text file or an .npz with classes and vectors"
        raise InputError(f"no file of word vectors at {path}; {cure}")
    table = _read_npz(path, classes) if path.suffix == ".npz" else _read_text(path, classes)
    rows, missing = [], []
    for name in classes:
        words = words_of(name)
        aliased = name.lower() in ALIASES and set(words) <= table.keys()
        parts = [name] if name in table and not aliased else words
        missing += [part for part in parts if part not in table]
        rows.append([table[part] for part in parts if part in table])
    if missing:
        named = ", ".join(map(repr, missing[:5]))
        raise InputError(f"{path} has no vector for {named}; add it, or choose another file")
    vectors = np.stack([np.mean(row, axis=0) for row in rows]).astype(np.float32)
    return WordVectors(vectors=vectors, source=path.name)


def words_of(name: str) -> list[str]:
    """The words whose vectors make up a class name.

    >>> words_of("Dining table"), words_of("tvmonitor")
    (['dining', 'table'], ['tv'])
    """
    return ALIASES.get(name.lower(), name.lower()).replace("_", " ").split()


def _read_npz(path: Path, classes: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            vectors = arrays["vectors"]
            if "classes" in arrays.files:
                return dict(zip(arrays["classes"].tolist(), vectors, strict=True))
    except DAMAGE as error:
        raise InputError(f"{path} must hold the arrays `classes` (C,) and `vectors` (C, D): {error}") from error
    # Files without names exist, some in alphabetical order: taken in the dataset's, every vector would be wrong.
    if list(classes) != sorted(classes) or vectors.ndim != 2 or len(vectors) != len(classes):
        raise InputError(
            f"{path} must hold the arrays `classes` (C,) and `vectors` (C, D); without `classes` nothing says which of "
            f"its rows {vectors.shape} belongs to which of the {len(classes)} names. Save it with their names: "
            "np.savez(FILE, classes=names, vectors=vectors)"
        )
    return dict(zip(classes, vectors, strict=True))


def _read_text(path: Path, classes: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Rows of the needed words; reading ends when all are found, as GloVe has frequent words first."""
    needed = set().union(*map(words_of, classes))
    wanted = {word.encode(): word for word in [*classes, *needed]}
    table: dict[str, NDArray[np.float32]] = {}
    text, small, console = f"reading {path.name}", path.stat().st_size < LARGE_FILE, Console(stderr=True)
    with progress.open(path, "rb", description=text, console=console, transient=True, disable=small) as file:
        for number, line in enumerate(file, start=1):
            first, _, numbers = line.rstrip().partition(b" ")
            if first not in wanted:
                continue
            word = wanted[first]
            try:
                table[word] = np.array(numbers.split(), dtype=np.float32)
            except ValueError as error:
                raise InputError(f"{path}, line {number}: {error}; a line is a word and its numbers") from error
            if not numbers or len(table[word]) != len(next(iter(table.values()))):
                raise InputError(f"{path}, line {number}: {word!r} has {len(table[word])} numbers, unlike the first")
            needed.discard(word)
            if not needed:
                break
    return table
