"""What became of each image of a cache: a table beside it, one JSON value per line, written and read as a stream."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageReport:
    """What became of one image."""

    id: str
    path: str
    file_digest: str = ""  # as in `Decoded`; empty when the file could not be read
    note: str = ""  # what had to be converted; empty for ordinary images
    problem: str = ""  # why it cannot be used; empty when it can
    bits: int = 0  # as in `Decoded`


class ReportWriter:
    """Writes reports to an open file and sums them up; a start of training needs the sums alone."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.images = self.usable = 0
        self.depths: set[int] = set()
        self._table, self._ids = hashlib.sha256(), hashlib.sha256()

    def write(self, reports: Iterable[ImageReport]) -> None:
        """Add reports, one line each."""
        for report in reports:
            values = {field.name: getattr(report, field.name) for field in fields(report)}
            line = json.dumps({name: value for name, value in values.items() if value}).encode() + b"\n"
            self.file.write(line)
            self._table.update(line)
            self.images += 1
            if not report.problem:
                self.usable += 1
                self._ids.update(_id(report.id))
                self.depths |= {report.bits} - {0}

    def summary(self) -> dict[str, Any]:
        """What a record holds: numbers, `bits` of images of more than 8, SHA-256 of the usable ids and of the table."""
        numbers = {"images": self.images, "usable": self.usable, "depths": sorted(self.depths)}
        return numbers | {"ids": self._ids.hexdigest(), "table": self._table.hexdigest()}


def read_reports(path: Path, digest: str | None = None) -> Iterator[ImageReport]:
    """Reports on the images of a cache `path`, in their order; none where there is no table.

    Raises `InputError` where it is damaged: has not this SHA-256, which is known when it is read to its end.
    """
    table, found = table_of(path), hashlib.sha256()
    try:
        with table.open("rb") as file:
            for line in file:
                found.update(line)
                yield ImageReport(**json.loads(line))
    except FileNotFoundError:
        if digest is None:
            return
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(table) from error
    if digest not in (None, found.hexdigest()):
        raise _damaged(table)


def ids_digest(ids: Iterable[str]) -> str:
    """SHA-256 of ids in their order, as in a summary."""
    digest = hashlib.sha256()
    for one in ids:
        digest.update(_id(one))
    return digest.hexdigest()


def table_of(path: Path) -> Path:
    """The table of a cache `path`."""
    return path.with_name(f"{path.name}.jsonl")


def _id(text: str) -> bytes:
    return f"{text}\0".encode("utf-8", "surrogatepass")


def _damaged(table: Path) -> InputError:
    return InputError(f"{table} was changed or damaged; delete it and prepare or import the dataset again")
