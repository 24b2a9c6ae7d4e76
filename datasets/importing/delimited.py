"""Cells of CSV and TSV files, as text.

Python's own `csv` reads them: pandas fills rows that are too short, and takes the first column of rows that are all too
long for an index, where a user should rather learn which row is wrong.
"""

import codecs
import contextlib
import csv
import gzip
import io
import re
import zlib
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from ...errors import InputError

TAB_ENDINGS = {".tsv", ".tab"}
# The first line by which Excel knows the sign between cells.
EXCEL_SIGN = re.compile(r'"?sep=(.)"?\r?\n?')
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
CURE = "save it as UTF-8 (in Excel: CSV UTF-8), or convert it: iconv -f cp1252 -t utf-8 OLD > NEW"


def read_delimited(path: Path, delimiter: str | None = None) -> tuple[dict[str, list[str]], list[int], list[str]]:
    r"""Columns by name, the row number of each record (the header is row 1), and remarks.

    Without a delimiter, the ending and the header decide; `\t` in two characters is a tab. Raises `InputError` if the
    file cannot be read as text, has no header, or a row has another number of cells.
    """
    number = 0
    try:
        with open_text(path) as file:
            excel = EXCEL_SIGN.fullmatch(first := file.readline())
            start = len(first) if excel else 0
            number = 1 if excel else 0
            sign, remarks = _delimiter(path, file, start, excel[1] if excel and delimiter is None else delimiter)
            _rewind(file, start)
            header: list[str] = []
            columns: list[list[str]] = []
            rows: list[int] = []
            # One object for each text that recurs: class names and flags fill most cells.
            known: dict[str, str] = {}
            for row in csv.reader(file, delimiter=sign, strict=True):
                number += 1
                if not any(map(str.strip, row)):
                    continue
                if not header:
                    header = _header(path, row, sign)
                    columns = [[] for _ in header]
                    continue
                for column, cell in zip(columns, _fitted(row, header, f"{path}, row {number}"), strict=True):
                    column.append(known.setdefault(cell, cell))
                rows.append(number)
    except UnicodeError as error:
        raise not_text(path) from error
    except (csv.Error, EOFError, zlib.error) as error:
        raise InputError(f"{path} is no CSV: {error} in row {number + 1}; is a quotation mark left open?") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if not rows:
        raise InputError(f"{path} has a header and nothing below it; give a row per image")
    named = zip(header, columns, strict=True)
    kept = [(name, cells) for name, cells in named if name or any(map(str.strip, cells))]
    if twice := [name for i, (name, _) in enumerate(kept) if name in [other for other, _ in kept[:i]]]:
        names = "several columns have no name" if twice[0] == "" else f"the header names a column twice: {twice[0]}"
        raise InputError(f"{path}: {names}; give each column a name of its own")
    return dict(kept), rows, remarks


def unpacked(path: Path) -> BinaryIO:
    """Open a file for reading; `.gz` is unpacked."""
    return cast(BinaryIO, gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def open_text(path: Path) -> TextIO:
    """Open a text file in UTF-8, or in UTF-16 with its byte order mark as Excel writes it."""
    binary = unpacked(path)
    try:
        encoding = "utf-16" if binary.read(2) in UTF16 else "utf-8-sig"
        binary.seek(0)
    except BaseException:
        binary.close()
        raise
    return io.TextIOWrapper(binary, encoding=encoding, newline="")


def not_text(path: Path) -> InputError:
    """The error for a file that is not in UTF-8, with the line that shows it."""
    where = ""
    with contextlib.suppress(OSError, EOFError), unpacked(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                where = f": line {number} has the byte 0x{line[error.start]:02x}"
                break
    return InputError(f"{path} is no text in UTF-8{where}; {CURE}")


def _rewind(file: TextIO, start: int) -> None:
    file.seek(0)
    file.read(start)


def _delimiter(path: Path, file: TextIO, start: int, given: str | None) -> tuple[str, list[str]]:
    """The sign between cells, with a remark where the header alone shows it."""
    if given is not None:
        sign = "\t" if given == r"\t" else given
        if len(sign) != 1 or sign in '\r\n"':
            raise InputError(rf"--delimiter {given!r} must be one character, such as , ; or \t")
        return sign, []
    usual = "\t" if {ending.lower() for ending in path.suffixes} & TAB_ENDINGS else ","
    cells = {}
    for sign in dict.fromkeys((usual, *",;\t|")):
        _rewind(file, start)
        cells[sign] = len(next(filter(None, csv.reader(file, delimiter=sign)), []))
    best = max(cells, key=lambda sign: cells[sign])
    if cells[usual] > 1 or cells[best] < 2:
        return usual, []
    return best, [f"{path.name}: {best!r} separates its cells, by its header"]


def _header(path: Path, row: list[str], sign: str) -> list[str]:
    names = [name.strip() for name in row]
    if len(names) < 2:
        cure = f"Is {sign!r} what separates its cells? --delimiter gives another"
        raise InputError(f"{path} needs a header of at least two columns; its first row is {row!r:.80}. {cure}")
    if any("\0" in name for name in names):
        raise InputError(f"{path} is no text in UTF-8: its header holds zero bytes; {CURE.replace('cp1252', 'utf-16')}")
    return names


def _fitted(row: list[str], header: list[str], where: str) -> list[str]:
    """A row with as many cells as the header; cells without content or name may be too many or too few."""
    if len(row) > len(header) and not any(map(str.strip, row[len(header) :])):
        return row[: len(header)]
    if len(row) < len(header) and not any(header[len(row) :]):
        return row + [""] * (len(header) - len(row))
    if len(row) != len(header):
        raise InputError(f"{where}: {len(row)} cells, the header has {len(header)}")
    return row
