"""Tables of labels: CSV, TSV, JSON, Parquet and Arrow files, and folders of them as Hugging Face's `datasets` has."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ...errors import InputError, some_of
from ...files import safe_file_name
from .arrow_tables import read_arrow
from .delimited import TAB_ENDINGS, read_delimited
from .json_tables import read_json, read_json_lines
from .table_folders import TableFiles, table_files
from .typed_cells import Cell as Cell
from .typed_cells import names_file

# What pandas calls the column of an index without a name: in CSV, in its own CSV read again, in Parquet.
NO_NAME = re.compile(r"|Unnamed: \d+(\.\d+)*|__index_level_\d+__")
WHOLE_NUMBER = re.compile(r"0|[1-9]\d*", re.ASCII)
FLAGS = {"0", "1", "False", "True"}
DELIMITED = (".csv", *sorted(TAB_ENDINGS))
JSON_LINES = (".jsonl", ".ndjson")
ARROW = (".parquet", ".pq", ".arrow", ".feather", ".ipc")
CURES = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as CSV UTF-8"),
    **dict.fromkeys((".pkl", ".pickle"), "reading it could run any code: let pandas write a .parquet or .csv"),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """One table of N rows."""

    source: Path  # for messages
    columns: Mapping[str, Sequence[Cell]]  # N cells each: text, "" where there is nothing, or several names
    rows: Sequence[int]  # number of each row in its file, for messages
    split: str | None = None  # of all rows, where the files say so
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # all names a column can hold, where declared
    remarks: Sequence[str] = ()
    save_images: Callable[[Path], None] | None = None  # writes embedded pictures below a folder, by their cells


def read_tables(path: Path, *, delimiter: str | None = None) -> tuple[Table, ...]:
    """Read a file, or one table per split of a folder.

    Raises `InputError` if it is no table of a known kind, cannot be read, or a row is wrong.
    """
    if not path.exists():
        raise InputError(f"no table at {path}")
    if not path.is_dir():
        return (_read(TableFiles(files=[path], split=None), path, delimiter),)
    tables = []
    for part in table_files(path, (ARROW, (*DELIMITED, *JSON_LINES))):
        if part.files[0].suffix.lower() in ARROW:
            tables.append(_read(part, path, delimiter))
        elif part.split is None and len(part.files) > 1:
            names = some_of(str(file.relative_to(path)) for file in part.files)
            raise InputError(f"{path} holds several tables, {names}; give the one of the labels")
        else:
            whole = [_read(replace(part, files=[file]), file, delimiter) for file in part.files]
            tables += [_below(table, path) for table in whole]
    return tuple(tables)


def _read(part: TableFiles, source: Path, delimiter: str | None) -> Table:
    first = part.files[0]
    ending = PurePosixPath(first.name.lower().removesuffix(".gz")).suffix
    if delimiter is not None and ending in (*JSON_LINES, ".json", *ARROW):
        raise InputError(f"--delimiter {delimiter!r} is for CSV; {first.name} needs none")
    table = Table(source=source, columns={}, rows=(), split=part.split)
    without: Sequence[str] = ()
    if ending in ARROW:
        prefix = f"{part.split or safe_file_name(first.stem)}/"
        found = read_arrow(part.files, features=part.features, prefix=prefix)
        rows: Sequence[int] = range(1, 1 + len(next(iter(found.columns.values()), ())))
        table = replace(table, columns=found.columns, classes=found.classes, save_images=found.save_images)
        without = found.without
    elif ending in (*JSON_LINES, ".json"):
        columns, rows, without = (read_json if ending == ".json" else read_json_lines)(first)
        table = replace(table, columns=columns)
    elif ending in (*DELIMITED, ".txt") or delimiter is not None:
        cells, rows, remarks = read_delimited(first, delimiter)
        table = replace(table, columns=cells, remarks=remarks)
    else:
        known = " ".join((*DELIMITED, *JSON_LINES, ".json", *ARROW))
        cure = CURES.get(ending, f"tables that can be read: {known}, or any text file with --delimiter")
        raise InputError(f"{first} is no table by its ending; {cure}")
    if not rows or not table.columns:
        raise InputError(f"{first} has no row with anything in it; give a row per image")
    if without:
        remark = f"{source.name}: no text, numbers or lists of names in {some_of(without)}: ignored"
        table = replace(table, remarks=[*table.remarks, remark])
    whole = range(rows[0], rows[-1] + 1)
    return _with_positions(_without_index(replace(table, rows=whole if len(whole) == len(rows) else rows)))


def _below(table: Table, folder: Path) -> Table:
    """A table of a folder for each split, whose metadata name files as seen from where they lie (`file_name`)."""
    place = table.source.parent.relative_to(folder).as_posix()
    if not table.source.name.startswith("metadata.") or "file_name" not in table.columns or place == ".":
        return table
    files = [cell and f"{place}/{cell}" for cell in table.columns["file_name"]]
    return replace(table, columns={**table.columns, "file_name": files})


def _without_index(table: Table) -> Table:
    """The table without columns that number its rows, as pandas writes them."""
    nameless = [name for name in table.columns if NO_NAME.fullmatch(name)]
    named = [cells for name, cells in table.columns.items() if name not in nameless]
    dropped = [name for name in nameless if named and _numbers_rows(table.columns[name], named)]
    if not dropped:
        return table
    columns = {name: cells for name, cells in table.columns.items() if name not in dropped}
    remark = f"{table.source.name}: a column without a name numbers the rows and is ignored"
    return replace(table, columns=columns, remarks=[*table.remarks, remark])


def _numbers_rows(cells: Sequence[Cell], others: Sequence[Sequence[Cell]]) -> bool:
    """Whether cells count from 0 or 1, or are different whole numbers (a frame that was filtered) beside file names."""
    if any(all(cell == str(i) for i, cell in enumerate(cells, start)) for start in (0, 1)):
        return True
    whole = all(isinstance(cell, str) and WHOLE_NUMBER.fullmatch(cell) for cell in cells)
    files = any(isinstance(column[0], str) and names_file(column[0]) for column in others)
    return whole and files and len(set(cells)) == len(cells)


def _with_positions(table: Table) -> Table:
    """The table with the places of the ones in lists of 0/1, of which each has a place for each class."""
    columns, classes, remarks = dict(table.columns), dict(table.classes), list(table.remarks)
    for name, cells in table.columns.items():
        # Numbers of classes would name no class twice in a row, and not all of them in each.
        length = len(cells[0]) if isinstance(cells[0], tuple) else 0
        if length > 1 and all(
            isinstance(cell, tuple) and len(cell) == length and FLAGS.issuperset(cell) for cell in cells
        ):
            columns[name] = [tuple(str(i) for i, flag in enumerate(cell) if flag in ("1", "True")) for cell in cells]
            classes[name] = tuple(map(str, range(length)))
            remarks.append(
                f"{table.source.name}: {name} has 0/1 for each of {length} classes, which are numbered from 0"
            )
    return replace(table, columns=columns, classes=classes, remarks=remarks)
