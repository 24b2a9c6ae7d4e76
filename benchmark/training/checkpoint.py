"""Checkpoints: everything that decides the coming steps, in a file that knows its own SHA-256.

    mltbench checkpoint 1
    SHA-256 of all that follows
    one line of JSON: experiment, attempt, device, threads, machine, epochs and steps done
    what `torch.save` made of the states; loaded with weights_only=True

`torch.load` does not notice flipped bits in tensors; the digest does. The last but one checkpoint is kept as well.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...files import write_durably
from ..runs.journal import Entry

CHECKPOINT_NAME, PREVIOUS_NAME = "checkpoint.mlt", "checkpoint.previous.mlt"
MAGIC = b"mltbench checkpoint 1\n"
DIGEST_LENGTH = 64


class DamagedCheckpointError(ValueError):
    """The file is not, or no longer, what was written."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a checkpoint says of itself.

    Attributes:
        experiment: id of the experiment.
        attempt: time of the `start` entry of the journal that it belongs to.
        device: kind of device, `cpu` or `cuda`.
        threads: torch threads.
        machine: what else decides the last bits: torch's version, the processor or graphics card.
        epochs: in the journal when it was written.
        steps: training steps done.
    """

    experiment: str
    attempt: int
    device: str
    threads: int
    machine: str
    epochs: int
    steps: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Checkpoint:
    """A checkpoint whose digest is right.

    Attributes:
        header: what it says of itself.
        payload: the states, as `torch.save` wrote them.
    """

    header: Header
    payload: bytes

    def states(self) -> dict[str, Any]:
        """Return the states, tensors on the CPU."""
        import torch

        loaded: dict[str, Any] = torch.load(io.BytesIO(self.payload), weights_only=True, map_location="cpu")
        return loaded


def write_checkpoint(folder: Path, header: Header, states: Mapping[str, Any]) -> None:
    """Write a checkpoint; the one before is kept beside it.

    Raises:
        OSError: if the disk is full, say; both older checkpoints are as they were.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(dict(states), buffer)
    line, payload = json.dumps(asdict(header)).encode() + b"\n", buffer.getbuffer()
    digest = hashlib.sha256(line)
    digest.update(payload)
    start = MAGIC + digest.hexdigest().encode() + b"\n" + line
    write_durably(folder / CHECKPOINT_NAME, start, payload, previous=folder / PREVIOUS_NAME)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        DamagedCheckpointError: if it was cut, changed, or is none.
        OSError: if it cannot be read.
    """
    content = path.read_bytes()
    start = len(MAGIC) + DIGEST_LENGTH + 1
    digest, body = content[len(MAGIC) : start], content[start:]
    if not content.startswith(MAGIC) or digest != hashlib.sha256(body).hexdigest().encode() + b"\n":
        raise DamagedCheckpointError(f"{path} is not what was written: its SHA-256 does not fit its content")
    header, _, payload = body.partition(b"\n")
    return Checkpoint(header=Header(**json.loads(header)), payload=payload)


def find_checkpoint(folder: Path, experiment: str, entries: Sequence[Entry]) -> Checkpoint | None:
    """The newest whole checkpoint that belongs to this experiment and this journal, or None.

    Args:
        folder: of the run.
        experiment: its id.
        entries: of its journal.
    """
    done = {entry.step for entry in entries if entry.event == "epoch"}
    for name in (CHECKPOINT_NAME, PREVIOUS_NAME):
        try:
            found = read_checkpoint(folder / name)
        except (DamagedCheckpointError, OSError):
            continue
        header = found.header
        belongs = header.experiment == experiment and bool(entries) and header.attempt == entries[0].time
        if belongs and done >= set(range(1, header.epochs + 1)):
            return found
    return None


def remove_checkpoints(folder: Path) -> None:
    """Take the checkpoints away, once they are needed no more."""
    for name in (CHECKPOINT_NAME, PREVIOUS_NAME):
        (folder / name).unlink(missing_ok=True)
