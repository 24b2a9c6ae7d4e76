"""Tables in JSON: an object per line (JSON Lines), a list of objects, or the names of each image."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import InputError, some_of
from .annotations import IMAGE_COLUMNS
from .delimited import not_text, open_text
from .typed_cells import Cell, cells_of, united


def read_json_lines(path: Path) -> tuple[dict[str, list[Cell]], list[int], list[str]]:
    """Columns by name, the line number of each record, and the names of columns without readable cells.

    Raises `InputError` if a line is no JSON object; the line is named.
    """
    rows: list[int] = []

    def records() -> Iterator[Iterator[tuple[str, Cell | None]]]:
        with open_text(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    rows.append(number)
                    yield _record(_parsed(line, f"{path}, line {number}"), f"{path}, line {number}")

    try:
        columns, without = united(records())
    except UnicodeError as error:
        raise not_text(path) from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    return columns, rows, without


def read_json(path: Path) -> tuple[dict[str, list[Cell]], list[int], list[str]]:
    """The same of a whole JSON file, as pandas' `to_json` writes it in any orientation, or `{"a.jpg": ["cat"]}`.

    Raises `InputError` if it has another form.
    """
    try:
        with open_text(path) as file:
            content = _parsed(file.read(), str(path))
    except UnicodeError as error:
        raise not_text(path) from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    records = _records(content, path)
    columns, without = united(_record(record, f"{path}, entry {i}") for i, record in enumerate(records, start=1))
    return columns, list(range(1, len(records) + 1)), without


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is no JSON: {error}") from error


def _record(value: Any, where: str) -> Iterator[tuple[str, Cell | None]]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: {value!r:.60} is no JSON object such as {{'image': 'a.jpg', 'labels': ['cat']}}")
    return (cell for key, member in value.items() for cell in cells_of(member, key.strip()))


def _records(content: Any, path: Path) -> list[Any]:
    """One object per image, whatever way round the file has them."""
    if isinstance(content, list):
        return content
    members = list(content.values()) if isinstance(content, dict) else []
    if members and all(isinstance(member, dict) for member in members):
        if all(key.isdecimal() for member in members for key in member):  # columns of rows
            keys = list(dict.fromkeys(key for member in members for key in member))
            return [{name: member.get(key) for name, member in content.items()} for key in keys]
        if all(key.isdecimal() for key in content):  # rows by number
            return members
        return [{"image": key, **member} for key, member in content.items()]
    if members and all(isinstance(member, list) for member in members) and _are_columns(content):
        return [dict(zip(content, row, strict=True)) for row in zip(*members, strict=True)]
    if members and all(_is_names(member) for member in members):
        return [{"image": key, "labels": member} for key, member in content.items()]
    found = f"an object with {some_of(map(repr, content))}" if isinstance(content, dict) else repr(content)[:60]
    forms = "COCO instances, a list of objects, or {'a.jpg': ['cat', 'dog']}"
    raise InputError(f"{path} holds {found}; what is read is {forms}")


def _are_columns(content: dict[str, list[Any]]) -> bool:
    """Whether lists are columns, not the names of each image: they are equally long, and one is of images."""
    return len({len(cells) for cells in content.values()}) == 1 and any(key.lower() in IMAGE_COLUMNS for key in content)


def _is_names(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(name, str) for name in value))
