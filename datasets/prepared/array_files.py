"""Arrays in `.npz` files, read without pickle: splits of a dataset whole, other arrays memory-mapped."""

import os
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...files import replacing, writing
from ..dataset import Split

# Everything that NumPy and zipfile raise on a file that was cut or has a flipped bit.
DAMAGE = (
    *(OSError, KeyError, EOFError, ValueError, RuntimeError, SyntaxError),
    *(SystemError, tokenize.TokenError, zipfile.BadZipFile, zlib.error),  # SystemError: a character beyond Unicode
)

# What precedes a member of a zip file: signature, 22 bytes that are in its directory too, two lengths.
LOCAL_HEADER = struct.Struct("<4s22xHH")


def write_split(split: Split, path: Path) -> None:
    """Write a split that others see whole or not at all; raises `InputError` if the folder cannot be written."""
    with writing(f"the dataset to {path.parent}"), replacing(path) as file:
        np.savez(file, images=split.images, labels=split.labels, ids=split.ids)


def read_split(path: Path) -> Split:
    """Read a split that `write_split` wrote; raises `InputError` if the file is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Split(images=arrays["images"], labels=arrays["labels"], ids=arrays["ids"])
    except DAMAGE as error:
        raise InputError(f"{path} is damaged ({error}); delete it, it will be made again") from error


def map_array(path: Path, name: str) -> NDArray[Any]:
    """Map an array of an uncompressed `.npz` into memory, read-only, which NumPy does for `.npy` alone.

    Its CRC is not checked. Raises one of `DAMAGE` if there is no such array.
    """
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"{name}.npy")
    with path.open("rb") as file:
        file.seek(member.header_offset)
        start = file.read(LOCAL_HEADER.size)
        signature, name_length, extra_length = LOCAL_HEADER.unpack(start.ljust(LOCAL_HEADER.size))
        if signature != b"PK\3\4" or member.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{name} cannot be mapped")
        file.seek(name_length + extra_length, os.SEEK_CUR)
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{name} has another format")
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype.hasobject:
            raise ValueError(f"{name} holds objects, which would be pickles")
        if 0 in shape:  # nothing cannot be mapped
            return np.empty(shape, dtype)
        return np.memmap(file, dtype, "r", file.tell(), shape, "F" if by_columns else "C")
