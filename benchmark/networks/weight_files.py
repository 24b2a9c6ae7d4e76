"""Files of weights: read without executing anything, compared with a backbone, loaded into it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import InputError, some_of
from ...files import file_digest as digest_of_file
from .backbones import BACKBONES, Backbone
from .tensor_files import TensorFile, inside, read_tensor_file, saving, whole_network

CLASSIFIERS = ("fc.", "classifier.", "head.", "neck.")
# Counters of BatchNorm that older files lack and that evaluation mode never reads.
COUNTER = "num_batches_tracked"
# Between the parts of a tensor's name.
BORDERS = re.compile("[./]")
# What torch inserts into the names of a network that was compiled, distributed or checkpointed in parts.
WRAPPERS = re.compile(r"(?<![^./])(_orig_mod|module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# What this suite puts before the names of torchvision's networks in the weights of a finished run.
DIVIDED = re.compile(r"(?<![^./])(trunk|upper)\.")


@cache
def published_digest(backbone: Backbone) -> str:
    """Digest of a backbone's published weights, known before anything is downloaded."""
    if backbone.own is None:
        return Path(backbone.weights).stem.rpartition("-")[2]
    return hashlib.sha256((files(__package__) / backbone.weights).read_bytes()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file; kept as long as its size and time do not change."""
    state = path.stat()
    return _digest(path, state.st_size, state.st_mtime_ns)


@cache
def _digest(path: Path, size: int, time: int) -> str:
    return digest_of_file(path)


def inspect_weights(path: Path, backbone: Backbone) -> tuple[int | None, tuple[str, ...]]:
    """Compare a file with a backbone; return the outputs of its classifier, if it has one, and what a user should know.

    Raises:
        InputError: if it cannot be read, lacks tensors, has tensors of another network, of other shapes or not finite,
            or if several networks in it fit.
    """
    part, further = _find(path, backbone, _expected(backbone))
    classifier = [name for name in further if name.startswith(CLASSIFIERS)]
    sizes = [further[name].numel() for name in classifier if name.endswith(".bias")]
    notes = []
    if part.prefix:
        notes.append(f"{path.name}: its tensors under `{part.prefix}` are used")
    if classifier:
        of = f" of {sizes[-1]:,} outputs" if sizes else ""
        notes.append(f"{path.name}: its classifier{of} is not used; this suite trains its own")
    if strange := [name for name in further if name not in classifier and not name.endswith(COUNTER)]:
        notes.append(
            f"{path.name}: {len(strange)} keys that {backbone.name} does not have are ignored: {some_of(strange)}"
        )
    return (sizes[-1] if sizes else None), tuple(notes)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What a backbone has of the tensors under one prefix, such as `state_dict/module.encoder_q.`, by its names."""

    prefix: str
    own: dict[str, Tensor] = field(default_factory=dict)

    def lacking(self, expected: Mapping[str, Tensor]) -> list[str]:
        """Names that a backbone needs and the part does not have."""
        return [name for name in expected if name not in self.own and not name.endswith(COUNTER)]

    def misshapen(self, expected: Mapping[str, Tensor]) -> list[str]:
        """Names whose tensors have another shape than the backbone's."""
        return [name for name, value in self.own.items() if value.shape != expected[name].shape]

    def fits(self, expected: Mapping[str, Tensor]) -> bool:
        """Whether it is all that a backbone needs."""
        return not self.lacking(expected) and not self.misshapen(expected)

    def equals(self, other: _Part) -> bool:
        """Whether both have the same values."""
        pairs = [(value, other.own[name]) for name, value in self.own.items() if name in other.own]
        return all(one is two or (one.dtype == two.dtype and torch.equal(one, two)) for one, two in pairs)

    def further(self, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The other tensors under its prefix, by their names without it."""
        under = {name[len(self.prefix) :]: tensors[name] for name in tensors if name.startswith(self.prefix)}
        return {name: value for name, value in under.items() if "/" not in name and not _key(name, expected)}


def _find(path: Path, backbone: Backbone, expected: Mapping[str, Tensor]) -> tuple[_Part, Mapping[str, Tensor]]:
    """The one part of a file that fits a backbone, in float32, and the further tensors under its prefix."""
    file = read_tensor_file(path)
    parts = _parts(file.tensors, expected)
    fitting: list[_Part] = []
    for part in parts:
        # A network that is kept under two names is one.
        if part.fits(expected) and not any(part.equals(other) for other in fitting):
            fitting.append(part)
    if len(fitting) > 1:
        raise _several(path, file, backbone, fitting)
    if not fitting:
        raise _unfit(path, file, backbone, expected, parts)
    (part,) = fitting
    further = part.further(file.tensors, expected)
    if strange := _within_blocks(further, expected):
        raise InputError(
            f"{path} is of another network than {backbone.name}, whose blocks lack {len(strange)} of its tensors: "
            f"{some_of(strange)}; {_other_backbone(file.tensors)}"
        )
    own = {name: _plain_numbers(path, name, value) for name, value in part.own.items()}
    if bad := [name for name, value in own.items() if not bool(value.isfinite().all())]:
        raise InputError(f"{path} is damaged: {len(bad)} tensors have values that are not finite: {some_of(bad)}")
    return _Part(prefix=part.prefix, own=own), further


def _within_blocks(further: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Tensors inside a backbone's blocks that it does not have: a deeper network may hold all of another."""
    blocks = {name.partition(".")[0] for name in expected}
    return [name for name in further if name.partition(".")[0] in blocks and not name.endswith(COUNTER)]


def _parts(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[_Part]:
    """The parts of a file that have names of a backbone, the most complete first.

    A prefix is whatever stands before such a name, so that no list of prefixes is needed.
    """
    found: dict[str, _Part] = {}
    for name, value in tensors.items():
        for start in (0, *(border.end() for border in BORDERS.finditer(name))):
            if key := _key(name[start:], expected):
                part = found.setdefault(name[:start], _Part(prefix=name[:start]))
                if key == name[start:] or key not in part.own:
                    part.own[key] = value
    return sorted(found.values(), key=lambda part: (len(part.own), len(part.prefix)), reverse=True)


def _key(name: str, expected: Mapping[str, Tensor]) -> str | None:
    """The backbone's name for a tensor: its own, or what is left of it without what torch and this suite add."""
    bare = WRAPPERS.sub("", name)
    return next((key for key in (name, bare, DIVIDED.sub("", bare)) if key in expected), None)


def _plain_numbers(path: Path, name: str, value: Tensor) -> Tensor:
    """A tensor in float32, as the network has it; counters stay as they are."""
    if value.layout != torch.strided or not (value.is_floating_point() or name.endswith(COUNTER)):
        raise InputError(
            f"{path}: {name} is of {value.dtype} ({value.layout}), and must be dense and of floating point; save the "
            "network as it was before it was quantised or made sparse"
        )
    return value.float() if value.is_floating_point() else value


def _several(path: Path, file: TensorFile, backbone: Backbone, parts: Sequence[_Part]) -> InputError:
    place, _, start = parts[0].prefix.rpartition("/")
    chosen = inside(file.code, place)
    if start:
        chosen = f"{{k: v for k, v in {chosen}.items() if k.startswith({start!r})}}"
    places = some_of(f"`{part.prefix}`" for part in parts)
    return InputError(
        f"{path} has {len(parts)} networks that fit {backbone.name}: {places}; save the one that you mean, such as the "
        f"first: {saving(chosen, path)}"
    )


def _unfit(
    path: Path, file: TensorFile, backbone: Backbone, expected: Mapping[str, Tensor], parts: Sequence[_Part]
) -> InputError:
    for place, kind in file.networks.items():
        return whole_network(path, kind, place)
    best = parts[0] if parts else _Part(prefix="")
    if missing := best.lacking(expected):
        used = {id(value) for value in best.own.values()}
        unknown = [n for n, value in file.tensors.items() if id(value) not in used and not n.startswith(CLASSIFIERS)]
        others = f"; it has {len(unknown)} other{'s'[: len(unknown) > 1]}: {some_of(unknown)}" if unknown else ""
        return InputError(
            f"{path} lacks {len(missing)} of {len(expected)} tensors of {backbone.name}: {some_of(missing)}{others}; "
            f"{_other_backbone(file.tensors)}"
        )
    shapes = [
        f"{name} is {tuple(best.own[name].shape)}, not {tuple(expected[name].shape)}"
        for name in best.misshapen(expected)
    ]
    return InputError(
        f"{path} has {len(shapes)} tensors of another shape than {backbone.name}: {some_of(shapes)}; "
        f"{_other_backbone(file.tensors)}"
    )


def _other_backbone(tensors: Mapping[str, Tensor]) -> str:
    """Which backbone a file is for, of those that the suite has."""
    for backbone in BACKBONES.values():
        expected = _expected(backbone)
        fitting = (part for part in _parts(tensors, expected) if part.fits(expected))
        if any(not _within_blocks(part.further(tensors, expected), expected) for part in fitting):
            return f"it fits {backbone.name}: give --backbone {backbone.name}"
    return "it fits no backbone of the suite, whose names are torchvision's"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of tensors by name; nothing in it is executed.

    Raises:
        InputError: if there is no such file, or it holds something else.
    """
    return dict(read_tensor_file(path).tensors)


def load_weights(backbone: Backbone, trunk: nn.Module, upper: nn.Module, path: Path | None) -> None:
    """Load weights into a backbone: those of a file, or, without one, those that the suite ships for it.

    Raises:
        InputError: if the file cannot be read or does not fit.
    """
    expected = _tensors(backbone, trunk, upper)
    if path:
        state: Mapping[str, Tensor] = _find(path, backbone, expected)[0].own
    else:
        with (files(__package__) / backbone.weights).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            state = {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files}
    with torch.no_grad():
        for name, value in expected.items():
            if name in state:
                value.copy_(state[name])


@cache
def _expected(backbone: Backbone) -> Mapping[str, Tensor]:
    """The tensors of a backbone, without their values."""
    with torch.device("meta"):
        return _tensors(backbone, *backbone.build())


def _tensors(backbone: Backbone, trunk: nn.Module, upper: nn.Module) -> dict[str, Tensor]:
    """All tensors of both parts under the names that files of weights have."""
    if backbone.own is None:
        return {**trunk.state_dict(), **upper.state_dict()}
    parts = {"trunk": trunk, "upper": upper}
    return {f"{part}.{name}": value for part, module in parts.items() for name, value in module.state_dict().items()}
