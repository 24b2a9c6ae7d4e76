"""Files of tensors as people have them, read without executing anything; other files are refused with their cure."""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...errors import InputError, some_of

# What torch, zipfile and pickletools raise on a file that was cut, flipped, or is something else.
DAMAGE = (
    *(OSError, RuntimeError, ValueError, KeyError, IndexError, EOFError, AttributeError, TypeError),
    *(AssertionError, struct.error, zipfile.BadZipFile, pickle.UnpicklingError, SafetensorError),
)
UNPACK = "unpack it, and give the file of weights inside"
CONVERT = "save its tensors by name with torch.save, converted by the framework that wrote it"
# How other files begin, with what they are and what to do.
SIGNATURES = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "fetch it with `git lfs pull`"),
    (b"\x1f\x8b", "an archive (gzip)", UNPACK),
    (b"\x89HDF", "an HDF5 file, as Keras writes them", CONVERT),
)
PAGE = re.compile(rb"\s*<(!doctype|html|head|\?xml|script)", re.IGNORECASE)
TITLE = re.compile(rb"<title>([^<]{1,60})", re.IGNORECASE)
ZIP = b"PK\3\4"
# A file of torch.save before its zip format: a pickle of this number, of the version, of the machine, of the content.
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
LEGACY_PICKLES = 4
# What files of tensors alone refer to beside torch.
PLAIN = ("collections.OrderedDict", "_codecs.encode")
# Names of Python 2, which that protocol has, as Python 3 reads them.
PYTHON_2 = {
    "__builtin__.long": "builtins.int",
    "__builtin__.unicode": "builtins.str",
    "__builtin__.": "builtins.",
    "copy_reg.": "copyreg.",
}
# The one that torch.save writes unless it is asked for another, and the only one that its safe reader knows.
PICKLE_PROTOCOL = 2


@dataclass(frozen=True, kw_only=True)
class TensorFile:
    """What a file holds.

    Attributes:
        tensors: by name; names of nested dictionaries are joined by `/`, such as `state_dict/conv1.weight`.
        networks: whole pickled networks, which are not read: class by place, in the same way.
        code: the expression of Python that reads it.
    """

    tensors: Mapping[str, Tensor]
    networks: Mapping[str, str] = field(default_factory=dict)
    code: str


class _Object:
    """Stands for an object of code that is not run, such as a checkpoint's `argparse.Namespace`; does nothing."""

    is_network = False

    def __new__(cls, *_: object) -> _Object:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.is_network = isinstance(state, Mapping) and "_modules" in state


class _Dictionary:
    """Stands for a dictionary of another class, such as `defaultdict`."""

    def __new__(cls, *_: object) -> dict[Any, Any]:  # type: ignore[misc]
        return {}


def read_tensor_file(path: Path) -> TensorFile:
    """Read a `.pt`, `.pth`, `.ckpt` or `.bin` of torch.save, or a `.safetensors`, by content and not by ending.

    Raises:
        InputError: if there is no such file, or it holds something else; the message says what, and the cure.
    """
    _require_file(path)
    with path.open("rb") as file:
        head = file.read(1024)
    try:
        if _is_safetensors(head, path.stat().st_size):
            return TensorFile(tensors=load_file(path), code=f"safetensors.torch.load_file({str(path)!r})")
        _require_torch_save(path, head)
        return _load(path)
    except InputError:
        raise
    except DAMAGE as error:
        reason = str(error).partition("\n")[0][:120]
        raise InputError(f"{path} is damaged or was cut off ({reason}); fetch it again") from error


def _require_file(path: Path) -> None:
    if path.is_dir():
        inside = some_of(sorted(each.name for each in path.iterdir())) or "nothing"
        raise InputError(f"{path} is a folder (it holds {inside}); name the file of weights in it")
    if re.match("https?:/", str(path)):
        raise InputError(f"{path} is an address; download the file, then give its path")
    if not path.is_file():
        raise InputError(
            f"no file of weights at {path}; give a file of tensors by name (.pth, .safetensors), `random`, or leave "
            "--weights out for the published ones"
        )


def _is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file begins with the length of a JSON header and that header."""
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= size - 8


def _require_torch_save(path: Path, head: bytes) -> None:
    """Refuse what torch.save did not write."""
    if not head:
        raise InputError(f"{path} is empty; fetch it again")
    if PAGE.match(head):
        title = TITLE.search(head)
        named = f" ({title[1].decode(errors='replace').strip()!r})" if title else ""
        raise InputError(
            f"{path} is a web page{named}, not the file: the address shows a page before it; fetch it with a browser, "
            "or with the tool of that site (gdown for Google Drive)"
        )
    for start, what, cure in SIGNATURES:
        if head.startswith(start):
            raise InputError(f"{path} is {what}; {cure}")
    if head[257:262] == b"ustar":
        raise InputError(f"{path} is an archive (tar); {UNPACK}")
    if head.startswith(ZIP):
        _require_torch_zip(path)
    elif head.startswith(b"\x80") and not head.startswith(LEGACY):
        raise InputError(f"{path} is a pickle that torch.save did not write, which is never executed; {CONVERT}")
    elif (text := _text(head)) is not None:
        raise InputError(f"{path} is text, not a file of weights; it begins with {text!r}; fetch the file itself")
    elif not head.startswith(LEGACY):
        raise InputError(f"{path} is damaged, or no file of weights: it begins with {head[:8]!r}; fetch it again")


def _text(head: bytes) -> str | None:
    """The beginning of a text; None where it is none."""
    try:
        found = head[:60].decode()
    except UnicodeDecodeError:
        return None
    return " ".join(found.split())[:40] if "".join(found.split()).isprintable() else None


def _require_torch_zip(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"{path} was cut off: of a zip file, its end is missing ({path.stat().st_size:,} bytes); fetch it again"
        )
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("/constants.pkl") for name in names):
        cure = saving(f"torch.jit.load({str(path)!r}, 'cpu').state_dict()", path)
        raise InputError(
            f"{path} is a TorchScript program, which is never executed; if you trust it, save its tensors: {cure}"
        )
    if not any(name.endswith("/data.pkl") for name in names):
        raise InputError(f"{path} is a zip archive of {some_of(names) or 'nothing'}; {UNPACK}")


def _load(path: Path) -> TensorFile:
    names = _names_of_code(path)
    strange = [name for name in names if not name.startswith("torch.") and name not in PLAIN]
    # What torch knows as safe comes before these.
    stand_ins: list[Any] = [
        (type(name, (_Dictionary if name in strange and name.lower().endswith("dict") else _Object,), {}), name)
        for name in names
    ]
    try:
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if any(name.startswith("torch.nn.modules.") for name in names):
            kind = next(name for name in names if name in strange or name.startswith("torch.nn."))
            raise whole_network(path, kind) from error
        what = f"objects of code ({some_of(strange)})" if strange else "more than tensors"
        raise InputError(
            f"{path} is damaged, or holds {what}, which is never executed; save the network's `state_dict()` alone"
        ) from error
    leaves = dict(_leaves(content, set()))
    networks = {n: type(leaf).__name__ for n, leaf in leaves.items() if isinstance(leaf, _Object) and leaf.is_network}
    tensors = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, Tensor) and name}
    if not tensors and not networks:
        what = f"; it holds {some_of(strange)}, which is never executed" if strange else ""
        raise InputError(f"{path} has no tensors by name{what}; save the network's `state_dict()`")
    return TensorFile(tensors=tensors, networks=networks, code=_loading(path, trusted=bool(strange)))


def _names_of_code(path: Path) -> list[str]:
    """The names of all classes and functions that a file of torch.save refers to, each once."""
    with path.open("rb") as file:
        streams: Iterable[BinaryIO] = [file] * LEGACY_PICKLES
        if file.peek(4).startswith(ZIP):
            with zipfile.ZipFile(path) as archive:
                (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
                streams = [io.BytesIO(archive.read(name))]
        found: list[str] = []
        for stream in streams:
            for operation, argument, _ in pickletools.genops(stream):
                if operation.name == "GLOBAL":
                    name = str(argument).replace(" ", ".")
                    found += [reduce(lambda name, renamed: name.replace(*renamed), PYTHON_2.items(), name)]
                elif operation.name == "PROTO" and argument != PICKLE_PROTOCOL:
                    raise InputError(
                        f"{path} was saved with pickle protocol {argument}; without executing a file, torch reads "
                        f"{PICKLE_PROTOCOL} alone: save it again without `pickle_protocol`"
                    )
        return list(dict.fromkeys(found))


def _leaves(content: object, seen: set[int], place: str = "") -> Iterator[tuple[str, object]]:
    """All that lies in nested dictionaries and lists, by place; each of these is followed once."""
    items: Iterable[tuple[object, object]]
    if isinstance(content, Mapping):
        items = content.items()
    elif isinstance(content, list | tuple):
        items = enumerate(content)
    else:
        yield place, content
        return
    if id(content) not in seen:
        seen.add(id(content))
        for name, value in items:
            yield from _leaves(value, seen, f"{place}/{name}" if place else str(name))


def whole_network(path: Path, kind: str, place: str | None = None) -> InputError:
    """The error for a file that holds a whole pickled network of a class, at its place if that is known."""
    load = _loading(path, trusted=True)
    cure = f"load it with {load} and torch.save its state_dict()"
    if place is not None:
        cure = f"save its tensors: {saving(f'{inside(load, place)}.state_dict()', path)}"
    return InputError(
        f"{path} is a whole pickled network ({kind}), whose code is never executed here; where that code is installed, "
        f"and if you trust it, {cure}"
    )


def _loading(path: Path, *, trusted: bool) -> str:
    return f"torch.load({str(path)!r}, map_location='cpu'{', weights_only=False' if trusted else ''})"


def inside(code: str, place: str) -> str:
    """An expression of Python for what lies at a place of nested dictionaries.

    >>> inside("content", "ema/state_dict")
    "content['ema']['state_dict']"
    """
    return code + "".join(f"[{name!r}]" for name in place.split("/") if name)


def saving(tensors: str, path: Path) -> str:
    """The command that saves tensors, an expression of Python, beside a file that cannot be used."""
    target = str(path.with_name(f"{path.stem}-tensors.pth"))
    library = "safetensors.torch, torch" if "safetensors.torch" in tensors else "torch"
    return f'python -c "import {library}; torch.save({tensors}, {target!r})"'
