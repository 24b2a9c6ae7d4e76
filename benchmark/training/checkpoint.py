"""Checkpoints: everything that decides the coming steps, in a file that knows its own SHA-256.

    mltbench checkpoint 1
    SHA-256 of all that follows
    one line of JSON: experiment, attempt, device, threads, machine, epochs and steps done
    what `torch.save` made of the states; loaded with weights_only=True

`torch.load` does not notice flipped bits in tensors; the digest does. The previous checkpoint is kept as well.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ...files import write_durably

CHECKPOINT_NAME, PREVIOUS_NAME = "checkpoint.mlt", "checkpoint.previous.mlt"
MAGIC = b"mltbench checkpoint 1\n"
DIGEST_LENGTH = 64


class DamagedCheckpointError(ValueError):
    """The file is not, or no longer, what was written."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a checkpoint says of itself."""

    experiment: str  # id of the experiment
    attempt: int  # time of the `start` entry of the journal that it belongs to
    device: str  # kind of device, `cpu` or `cuda`
    threads: int  # torch threads
    machine: str  # what else decides the last bits: torch's version, the processor or graphics card
    epochs: int  # in the journal when it was written
    steps: int  # training steps done


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose digest is right: its file, and what it says of itself."""

    path: Path
    header: Header

    def states(self) -> dict[str, Any]:
        """Read the states, tensors on the CPU.

        Raises:
            DamagedCheckpointError: if the file has changed since.
        """
        loaded: dict[str, Any] = torch.load(io.BytesIO(_read(self.path)[1]), weights_only=True, map_location="cpu")
        return loaded


def write_checkpoint(folder: Path, header: Header, states: Mapping[str, Any]) -> None:
    """Write a checkpoint; the one before is kept beside it.

    Raises:
        OSError: if the disk is full, say; both older checkpoints are as they were.
    """
    buffer = io.BytesIO()
    torch.save(dict(states), buffer)
    line, payload = json.dumps(asdict(header)).encode() + b"\n", buffer.getbuffer()
    digest = hashlib.sha256(line)
    digest.update(payload)
    start = MAGIC + digest.hexdigest().encode() + b"\n" + line
    write_durably(folder / CHECKPOINT_NAME, start, payload, previous=folder / PREVIOUS_NAME)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify a checkpoint.

    Raises:
        DamagedCheckpointError: if it was cut, changed, or is none.
        OSError: if it cannot be read.
    """
    return Checkpoint(path=path, header=Header(**json.loads(_read(path)[0])))


def whole_checkpoints(folder: Path, experiment: str, *, attempt: int, epochs: set[int]) -> list[Checkpoint]:
    """The whole checkpoints that belong to an experiment and its journal, newest first: two, one or none.

    `attempt` is the time of the journal's `start` entry, `epochs` are those that it holds.
    """
    found = []
    for name in (CHECKPOINT_NAME, PREVIOUS_NAME):
        try:
            checkpoint = read_checkpoint(folder / name)
        except (DamagedCheckpointError, OSError):
            continue
        header = checkpoint.header
        belongs = (header.experiment, header.attempt) == (experiment, attempt)
        if belongs and epochs >= set(range(1, header.epochs + 1)):
            found.append(checkpoint)
    return found


def _read(path: Path) -> tuple[bytes, bytes]:
    """The header and the payload of a checkpoint whose digest is right."""
    content = path.read_bytes()
    start = len(MAGIC) + DIGEST_LENGTH + 1
    digest, body = content[len(MAGIC) : start], content[start:]
    if not content.startswith(MAGIC) or digest != hashlib.sha256(body).hexdigest().encode() + b"\n":
        raise DamagedCheckpointError(f"{path} is not what was written: its SHA-256 does not fit its content")
    header, _, payload = body.partition(b"\n")
    return header, payload


def remove_checkpoints(folder: Path) -> None:
    """Delete the checkpoints."""
    for name in (CHECKPOINT_NAME, PREVIOUS_NAME):
        (folder / name).unlink(missing_ok=True)
