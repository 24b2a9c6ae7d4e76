"""Files of weights: read without executing anything, compared with a backbone, loaded into it."""

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import InputError, some_of
from ...files import file_digest as digest_of_file
from .backbones import Backbone

# What torch.load raises on a file that was cut, flipped, or is something else.
DAMAGE = (OSError, RuntimeError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile)
CLASSIFIERS = ("fc.", "classifier.", "head.", "neck.")
# Counters of BatchNorm that older files lack and that evaluation mode never reads.
COUNTER = "num_batches_tracked"


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
        InputError: if it cannot be read, lacks keys, or has tensors of other shapes or not finite.
    """
    state = read_weights(path)
    with torch.device("meta"):
        expected = _tensors(backbone, *backbone.build())
    _require_fit(state, expected, source=str(path), backbone=backbone)
    rest = [name for name in state if name not in expected]
    classifier = [name for name in rest if name.startswith(CLASSIFIERS)]
    sizes = [len(state[name]) for name in classifier if name.endswith(".bias")]
    notes = []
    if classifier:
        of = f" of {sizes[-1]:,} outputs" if sizes else ""
        notes.append(f"{path.name}: its classifier{of} is not used; this suite trains its own")
    if strange := [name for name in rest if name not in classifier and not name.endswith(COUNTER)]:
        notes.append(
            f"{path.name}: {len(strange)} keys that {backbone.name} does not have are ignored: {some_of(strange)}"
        )
    return (sizes[-1] if sizes else None), tuple(notes)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of tensors by name; nothing in it is executed.

    Raises:
        InputError: if there is no such file, or it holds something else.
    """
    if not path.is_file():
        raise InputError(f"no file of weights at {path}; give `random`, or a .pt or .pth file of tensors by name")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is damaged, or holds more than tensors, which is never executed; save the network's "
            "`state_dict()` alone, or fetch the file again"
        ) from error
    except DAMAGE as error:
        reason = str(error).partition("\n")[0][:200]
        raise InputError(f"{path} is damaged, or no file of weights ({reason}); fetch it again") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        inner = f", it has {some_of(map(str, state))}" if isinstance(state, Mapping) else ""
        raise InputError(f"{path} must hold tensors by name{inner}; save the network's `state_dict()` alone")
    return dict(state)


def _require_fit(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, source: str, backbone: Backbone
) -> None:
    missing = [name for name in expected if name not in state and not name.endswith(COUNTER)]
    if missing:
        unknown = [name for name in state if name not in expected and not name.startswith(CLASSIFIERS)]
        instead = f"; it has {len(unknown)} others: {some_of(unknown)}" if unknown else ""
        raise InputError(
            f"{source} lacks {len(missing)} of {len(expected)} tensors of {backbone.name}: {some_of(missing)}{instead}"
            ". Names must be as torchvision's; is it another backbone's file (--backbone)?"
        )
    shapes = [
        f"{name} is {tuple(state[name].shape)}, not {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    if shapes:
        raise InputError(
            f"{source} has {len(shapes)} tensors of another shape than {backbone.name}: {some_of(shapes)}; is it "
            "another backbone's file (--backbone)?"
        )
    if bad := [name for name in expected if name in state and not bool(state[name].isfinite().all())]:
        raise InputError(f"{source} is damaged: {len(bad)} tensors have values that are not finite: {some_of(bad)}")


def load_weights(backbone: Backbone, trunk: nn.Module, upper: nn.Module, path: Path | None) -> None:
    """Load weights into a backbone: those of a file, or, without one, those that the suite ships for it.

    Raises:
        InputError: if the file cannot be read or does not fit.
    """
    if path:
        state = read_weights(path)
    else:
        with (files(__package__) / backbone.weights).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            state = {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files}
    expected = _tensors(backbone, trunk, upper)
    _require_fit(state, expected, source=str(path or backbone.weights), backbone=backbone)
    with torch.no_grad():
        for name, value in expected.items():
            if name in state:
                value.copy_(state[name])


def _tensors(backbone: Backbone, trunk: nn.Module, upper: nn.Module) -> dict[str, Tensor]:
    """All tensors of both parts under the names that files of weights have."""
    if backbone.own is None:
        return {**trunk.state_dict(), **upper.state_dict()}
    parts = {"trunk": trunk, "upper": upper}
    return {f"{part}.{name}": value for part, module in parts.items() for name, value in module.state_dict().items()}
