"""The journal of a run: everything that happens in training, appended line by line to a local file.

Training writes nowhere else. The journal can be replayed to MLflow at any later time, with the same timestamps.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

JOURNAL_NAME = "journal.jsonl"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a journal."""

    event: str  # `start`, `epoch`, ...: the table in benchmark/README.md
    time: int  # milliseconds since 1970
    step: int = 0  # epochs done
    metrics: Mapping[str, float] = field(default_factory=dict)  # numbers by MLflow name
    details: Mapping[str, Any] = field(default_factory=dict)  # anything else, as plain JSON


class Journal:
    """Appends entries to `journal.jsonl` in a run's folder; a last line that a crash cut short is removed first.

    A crash of the process loses no entry. `durable` entries survive a crash of the machine as well, with all before.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / JOURNAL_NAME

    def append(
        self,
        event: str,
        *,
        step: int = 0,
        metrics: Mapping[str, float] | None = None,
        durable: bool = False,
        **details: Any,
    ) -> None:
        """Write one entry and flush it."""
        line = {"event": event, "time": time.time_ns() // 1_000_000, "step": step}
        line |= {"metrics": dict(metrics or {}), "details": details}
        with self._path.open("a+b") as file:
            file.seek(0)
            file.truncate(_whole_lines(file.read())[1])
            file.write(json.dumps(line).encode() + b"\n")
            if durable:
                file.flush()
                os.fsync(file.fileno())

    def append_once(self, event: str, *, step: int, metrics: Mapping[str, float], **details: Any) -> None:
        """Write an entry unless it is there: after a resume, some epochs are trained again that the journal has.

        The first entry stays, with its time, so that no point is uploaded twice. Where the numbers are not the
        same to the bit, an entry `not repeated` says so.
        """
        entries = [entry for entry in read_journal(self.folder) if (entry.event, entry.step) == (event, step)]
        if not entries:
            self.append(event, step=step, metrics=metrics, **details)
        elif names := sorted(_differing(entries[0].metrics, metrics)):
            self.append("not repeated", step=step, of=event, metrics_that_differ=names)

    def sync(self) -> None:
        """Make all entries survive a crash of the machine."""
        with self._path.open("rb") as file:
            os.fsync(file.fileno())


def read_journal(folder: Path) -> list[Entry]:
    """Read a run's entries up to the first line that is not whole; that is the last one, cut short by a crash."""
    path = folder / JOURNAL_NAME
    return _whole_lines(path.read_bytes())[0] if path.exists() else []


def _whole_lines(content: bytes) -> tuple[list[Entry], int]:
    """Entries of the whole lines at the beginning, and their length."""
    entries, length = [], 0
    for line in content.splitlines(keepends=True):
        try:
            entries.append(Entry(**json.loads(line)))
        except (ValueError, TypeError):
            break
        if not line.endswith(b"\n"):
            entries.pop()
            break
        length += len(line)
    return entries, length


def _differing(first: Mapping[str, float], second: Mapping[str, float]) -> set[str]:
    """Names of the metrics that are not the same to the bit; costs never are."""
    names = {name for name in {*first, *second} if not name.startswith("cost/")}
    return {name for name in names if float(first.get(name, "nan")).hex() != float(second.get(name, "nan")).hex()}
