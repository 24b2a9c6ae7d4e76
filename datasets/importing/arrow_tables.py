"""Tables in Parquet and Arrow files, one or several with the same columns, and the pictures that may lie in them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...errors import InputError
from ...files import replacing, writing
from .class_features import class_names, features_of, with_names
from .typed_cells import Cell, cells_of, names_file, united

ROWS_AT_ONCE = 4096
PICTURES_AT_ONCE = 32
# By the first bytes of a picture.
ENDINGS = {
    **{b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"BM": ".bmp", b"RIFF": ".webp", b"P5": ".ppm"},
    **{b"P6": ".ppm", b"II*\0": ".tif", b"MM\0*": ".tif", b"\0\0\0\x0cjP": ".jp2", b"\xff\x4f\xff\x51": ".jp2"},
}
LONGEST_START = max(map(len, ENDINGS))


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrowTable:
    """N rows of all files in their order."""

    columns: Mapping[str, Sequence[Cell]]
    classes: Mapping[str, tuple[str, ...]]  # names by column, where the files declare them
    without: Sequence[str]  # columns that no cell can hold
    save_images: Callable[[Path], None] | None  # where pictures lie in the files


def read_arrow(files: Sequence[Path], *, features: Mapping[str, Any] | None = None, prefix: str = "") -> ArrowTable:
    """Read files as text; pictures in them get names below `prefix`.

    Features of Hugging Face's `datasets` are given where the files themselves may have none. Raises `InputError` if a
    file cannot be read, or has other columns than the first.
    """
    schema = _schema(files[0])
    for path in files[1:]:
        if (other := _schema(path)).names != schema.names:
            raise InputError(f"{path} has the columns {other.names}, but {files[0]} has {schema.names}")
    features = features_of(schema.metadata) or features or {}
    with _reading(files[0]):
        texts = [name for name in schema.names if _is_text(schema.field(name).type)]
        pictures = [name for name in schema.names if _is_picture(schema.field(name).type, features.get(name))]
    # A second column is a mask or a preview of the first.
    picture = next((name for name in pictures if name == "image"), pictures[0] if pictures else None)
    named, is_embedded = ([], False) if picture is None else _picture_names(files, picture, prefix)
    wanted = [name for name in schema.names if name in texts or (name == picture and named)]
    if not texts:
        raise InputError(f"{files[0]} has no column of text or numbers; it has {schema.names}")

    def records() -> Iterator[Iterator[tuple[str, Cell | None]]]:
        count = 0
        for path in files:
            for batch in _batches(path, texts, ROWS_AT_ONCE):
                with _reading(path):
                    values = {name: _values(batch, name, features, path) for name in texts}
                values[picture or ""] = named[count : count + batch.num_rows]
                count += batch.num_rows
                for row in zip(*(values[name] for name in wanted), strict=True):
                    yield (cell for name, value in zip(wanted, row, strict=True) for cell in cells_of(value, name))

    columns, without = united(records())
    return ArrowTable(
        columns=columns,
        classes={column: names for name in texts for column, names in class_names(features.get(name), name)},
        without=[*without, *(name for name in schema.names if name not in wanted)],
        save_images=partial(_save_pictures, files, picture, named) if picture and is_embedded else None,
    )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise InputError(f"{path} is no Parquet or Arrow file that can be read: {error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile | pa.RecordBatchFileReader | pa.RecordBatchStreamReader]:
    """A reader by the first bytes of a file: Parquet, an Arrow file (Feather), or an Arrow stream as `datasets` has."""
    with _reading(path):
        with path.open("rb") as file:
            start = file.read(6)
        if start.startswith(b"PAR1"):
            # Without buffering ahead, pages are read as they are needed: memory does not grow with the file.
            with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as parquet:
                yield parquet
            return
        with pa.memory_map(str(path)) as mapped:
            yield pa.ipc.open_file(mapped) if start == b"ARROW1" else pa.ipc.open_stream(mapped)


def _schema(path: Path) -> pa.Schema:
    with _opened(path) as reader:
        schema = reader.schema_arrow if isinstance(reader, pq.ParquetFile) else reader.schema
        if len(set(schema.names)) < len(schema.names):
            raise InputError(f"{path} names a column twice: {schema.names}")
        return schema


def _batches(path: Path, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
    """Batches of at most `size` rows; `a.b` is the member b of a column a, which Arrow files give as a whole."""
    with _opened(path) as reader:
        if isinstance(reader, pq.ParquetFile):
            found = reader.iter_batches(batch_size=size, columns=list(columns))
        elif isinstance(reader, pa.RecordBatchFileReader):
            found = map(reader.get_batch, range(reader.num_record_batches))
        else:
            found = reader
        for batch in found:
            # Values of a damaged file lie anywhere: to read them would end the process.
            batch.validate(full=True)
            for start in range(0, batch.num_rows, size):
                yield batch.slice(start, size)


def _is_text(kind: pa.DataType) -> bool:
    """Whether values are text, numbers, dates, or lists or objects of them."""
    types = pa.types
    if types.is_struct(kind):
        return all(_is_text(kind.field(i).type) for i in range(kind.num_fields))
    if any(of(kind) for of in (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_dictionary)):
        return _is_text(kind.value_type)
    plain = (types.is_string, types.is_large_string, types.is_string_view, types.is_decimal, types.is_null)
    return any(of(kind) for of in (*plain, types.is_primitive))


def _is_picture(kind: pa.DataType, feature: Any = None) -> bool:
    """Whether values are bytes, alone or beside a path as `datasets` keeps an image; a sound is kept so too."""
    if isinstance(feature, dict) and feature.get("_type") not in ("Image", "Value"):
        return False
    if pa.types.is_struct(kind):
        members = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
        return members.keys() == {"bytes", "path"} and _is_picture(members["bytes"])
    return any(of(kind) for of in (pa.types.is_binary, pa.types.is_large_binary))


def _values(batch: pa.RecordBatch, name: str, features: Mapping[str, Any], path: Path) -> list[Any]:
    values: list[Any] = batch.column(name).to_pylist()
    if next(class_names(features.get(name), name), None) is None:
        return values
    return [with_names(value, features[name], f"{path}, column {name!r}") for value in values]


def _member(batch: pa.RecordBatch, name: str, member: str) -> pa.Array:
    """The paths or the bytes of pictures; a null picture has neither."""
    column = batch.column(name)
    if pa.types.is_struct(column.type):
        return pc.struct_field(column, member)
    return column if member == "bytes" else pa.nulls(len(column), pa.string())


def _picture_names(files: Sequence[Path], column: str, prefix: str) -> tuple[list[str], bool]:
    """A name for each picture, "" where there is none, and whether they lie in the files; nothing if they are none.

    The name is the last part of its path, else the number of its row, with an ending by its bytes.
    """
    paths: list[str] = []
    starts: list[bytes | None] = []
    for path in files:
        for batch in _batches(path, [column], PICTURES_AT_ONCE):
            with _reading(path):
                paths += [text or "" for text in _member(batch, column, "path").to_pylist()]
            starts += pc.binary_slice(_member(batch, column, "bytes"), 0, LONGEST_START).to_pylist()
    is_embedded = any(starts)
    if not any(paths) and not any(map(_ending, starts)):
        return [], False
    names = []
    for row, (text, start) in enumerate(zip(paths, starts, strict=True), start=1):
        name = PureWindowsPath(text).name.removeprefix("..")
        name = name or (f"{row:06d}" if start else "")
        names.append(name if names_file(name) else name + _ending(start))
    given = [name.casefold() for name in names if name]
    if len(set(given)) < len(given):
        names = [name and f"{row:06d}-{name}" for row, name in enumerate(names, start=1)] if is_embedded else paths
    return [f"{prefix}{name}" if name and is_embedded else name for name in names], is_embedded


def _ending(start: bytes | None) -> str:
    return next((ending for sign, ending in ENDINGS.items() if start and start.startswith(sign)), "")


def _save_pictures(files: Sequence[Path], column: str, names: Sequence[str], folder: Path) -> None:
    """Write pictures below a folder by their names; what is there with the same bytes is kept."""
    rows = iter(names)
    with writing(f"the pictures of {files[0]} to {folder}"):
        for path in files:
            for batch in _batches(path, [column], PICTURES_AT_ONCE):
                for data in _member(batch, column, "bytes").to_pylist():
                    target = folder / next(rows)
                    if not data or (target.is_file() and target.read_bytes() == data):
                        continue
                    with replacing(target) as file:
                        file.write(data)
