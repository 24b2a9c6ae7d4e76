"""Values of JSON, Parquet and Arrow as cells of a table: text, or several names where the file has a list."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from ...errors import InputError

Cell = str | tuple[str, ...]
# Beyond it, whole floats are no exact numbers any more.
LARGEST_WHOLE = 2**53
FILE_ENDING = re.compile(r"\.[A-Za-z]\w{2,3}$")


def names_file(text: str) -> bool:
    """Whether a text ends as names of image files do.

    >>> names_file("a.jpeg"), names_file("1.25")
    (True, False)
    """
    return FILE_ENDING.search(text) is not None


def text_of(value: Any) -> str:
    """A value as text, "" for null and NaN; a whole float is the same text as the whole number.

    >>> [text_of(value) for value in (None, True, 5, 5.0, 0.5, float("nan"), "cat")]
    ['', 'True', '5', '5', '0.5', '', 'cat']
    """
    if value is None or value != value:
        return ""
    if isinstance(value, float) and abs(value) < LARGEST_WHOLE and value == int(value):
        return str(int(value))
    return str(value)


def cells_of(value: Any, name: str) -> Iterator[tuple[str, Cell | None]]:
    """The cells of one value by column: members of an object are columns of their own, None is what no cell can hold.

    >>> dict(cells_of({"box": [[0, 0, 9, 9]], "labels": ["cat", None, "dog"]}, "objects"))
    {'objects.box': None, 'objects.labels': ('cat', 'dog')}
    """
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, member in value.items():
            yield from cells_of(member, f"{name}.{key}")
    elif isinstance(value, list):
        objects = [item for item in value if isinstance(item, dict)]
        if objects:
            for key in dict.fromkeys(key for item in objects for key in item):
                yield from cells_of([item.get(key) for item in objects], f"{name}.{key}")
        elif any(isinstance(item, list | bytes) for item in value):
            yield name, None
        else:
            yield name, tuple(text for item in value if (text := text_of(item)))
    else:
        yield name, None if isinstance(value, bytes) else text_of(value)


def united(records: Iterable[Iterable[tuple[str, Cell | None]]]) -> tuple[dict[str, list[Cell]], list[str]]:
    """Columns of the cells of all records, in order of appearance, and the names of columns that no cell can hold.

    Raises `InputError` if a record has a column twice.
    """
    columns: dict[str, list[Cell]] = {}
    without: dict[str, None] = {}
    # One object for each text that recurs: class names and flags fill most cells.
    known: dict[Cell, Cell] = {}
    count = 0
    for record in records:
        for name, cell in record:
            if cell is None:
                without[name] = None
                continue
            column = columns.setdefault(name, [])
            if len(column) > count:
                raise InputError(f"column {name!r} is there twice in record {count + 1}; give columns different names")
            column.extend([""] * (count - len(column)))
            column.append(known.setdefault(cell, cell))
        count += 1
    for column in columns.values():
        column.extend([""] * (count - len(column)))
    # An object that is null in some rows.
    hollow = {name for name, cells in columns.items() if not any(cells) and _has_members(name, columns)}
    kept = {name: cells for name, cells in columns.items() if name not in hollow and name not in without}
    return kept, list(without)


def _has_members(name: str, columns: Iterable[str]) -> bool:
    return any(other.startswith(f"{name}.") for other in columns)
