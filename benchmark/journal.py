"""The journal of a run: everything that training has to say, appended line by line to a local file.

Training writes here alone. What is written can be replayed to MLflow at any later time, with the same timestamps.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

JOURNAL_NAME = "journal.jsonl"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a journal.

    Attributes:
        event: `start`, `epoch`, `evaluation`, `test` (`cost` where the test split is not scored), then `finished`,
            `failed` or `stopped`.
        time: milliseconds since 1970.
        step: epochs done.
        metrics: numbers by MLflow name.
        details: anything else, as plain JSON.
    """

    event: str
    time: int
    step: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


class Journal:
    """Appends entries to `journal.jsonl` in a run's folder; a last line cut short by a crash is taken away first."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL_NAME

    def append(self, event: str, *, step: int = 0, metrics: Mapping[str, float] | None = None, **details: Any) -> None:
        """Write one entry and flush it."""
        line = {"event": event, "time": time.time_ns() // 1_000_000, "step": step}
        line |= {"metrics": dict(metrics or {}), "details": details}
        with self._path.open("a+b") as file:
            cut_torn_line(file)
            file.write(json.dumps(line).encode() + b"\n")


def cut_torn_line(file: BinaryIO) -> None:
    """Take away a last line that a crash cut short."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(end - 1, 0))
    if end and file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def read_journal(folder: Path) -> list[Entry]:
    """Read a run's entries; a last line cut short by a crash is left out."""
    path = folder / JOURNAL_NAME
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [Entry(**json.loads(line)) for line in lines[:-1]]


def is_finished(folder: Path) -> bool:
    """Tell whether the run in this folder ended well."""
    entries = read_journal(folder)
    return bool(entries) and entries[-1].event == "finished"
