"""Tables of labels: CSV and TSV, JSON, Parquet and Arrow files, and folders that Hugging Face's `datasets` wrote."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ...errors import InputError
from .delimited import TAB_ENDINGS, read_delimited

Cell = str | tuple[str, ...]
# What pandas calls the column of an index without a name, when it reads its own file again and writes it.
NO_NAME = re.compile(r"(Unnamed: \d+(\.\d+)*)?")
WHOLE_NUMBER = re.compile(r"0|[1-9]\d*", re.ASCII)
FILE_ENDING = re.compile(r"\.[A-Za-z]\w{2,3}$")
TEXT_ENDINGS = {".csv", ".txt", *TAB_ENDINGS}


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """One table of N rows."""

    source: Path  # for messages
    columns: Mapping[str, Sequence[Cell]]  # N cells each: text, "" where there is nothing, or several names
    rows: Sequence[int]  # number of each row in its file, for messages
    split: str | None = None  # of all rows, where the file itself says so
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # all names a column can hold, where declared
    remarks: Sequence[str] = ()
    save_images: Callable[[Path], None] | None = None  # writes embedded pictures below a folder, by their cells


def read_tables(path: Path, *, delimiter: str | None = None) -> tuple[Table, ...]:
    """Read a file, or one table per split of a folder.

    Raises `InputError` if it is no table of a known kind, cannot be read, or a row is wrong.
    """
    if not path.exists():
        raise InputError(f"no table at {path}")
    ending = PurePosixPath(path.name.lower().removesuffix(".gz")).suffix
    if ending in TEXT_ENDINGS or delimiter is not None:
        columns, rows, remarks = read_delimited(path, delimiter)
        return (_finished(Table(source=path, columns=columns, rows=_range(rows), remarks=remarks)),)
    raise InputError(f"{path}: cannot read tables of {ending or 'no ending'!r}; give a .csv or .tsv")


def _range(rows: list[int]) -> Sequence[int]:
    """Row numbers, as a range where none is left out."""
    whole = range(rows[0], rows[-1] + 1)
    return whole if len(whole) == len(rows) else rows


def _finished(table: Table) -> Table:
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
    files = any(isinstance(column[0], str) and FILE_ENDING.search(column[0]) for column in others)
    return whole and files and len(set(cells)) == len(cells)
