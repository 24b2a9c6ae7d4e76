"""Signs of life of a run: a lock that the system frees with its holder, and a file that says who holds it.

The lock tells the truth on one machine, and on shared folders that know locks; the heartbeat on all others.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ...errors import InputError
from ..experiments.display_names import LABELS_NAME

LOCK_NAME = "lock"
HEARTBEAT_NAME = "heartbeat.json"
BEAT_SECONDS = 5.0
# A machine that was suspended or whose disk hangs for a moment is not dead.
STALE_SECONDS = 60.0
# Whoever asks for a run's state takes its lock for a moment.
PATIENCE_SECONDS = 2.0


class HeldError(InputError):
    """Somebody else is running this experiment."""


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """Who runs an experiment.

    Attributes:
        host: machine.
        pid: process.
        time: seconds since 1970 of the last sign of life.
        steps: training steps done.
    """

    host: str
    pid: int
    time: float
    steps: int = 0

    @property
    def age(self) -> float:
        """Seconds since the last sign of life."""
        return max(0.0, time.time() - self.time)

    def describe(self) -> str:
        """Return who it is, in words."""
        return f"process {self.pid} on {self.host}, last sign of life {self.age:.0f} s ago"


class Pulse:
    """What a training tells its heartbeat.

    Attributes:
        steps: training steps done.
    """

    steps = 0


@contextmanager
def hold(folder: Path) -> Iterator[Pulse]:
    """Hold a run's folder: while inside, nobody else runs it, and its heartbeat is written every few seconds.

    Raises:
        HeldError: if somebody else holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / LOCK_NAME).acquire(timeout=PATIENCE_SECONDS)
    except Timeout:
        beat = read_heartbeat(folder)
        raise HeldError(f"{folder.name} is being run by {beat.describe() if beat else 'another process'}") from None
    with lock:
        beat = read_heartbeat(folder)
        if beat and _is_elsewhere(beat):
            raise HeldError(f"{folder.name} is being run by {beat.describe()}")
        pulse, stop = Pulse(), threading.Event()
        thread = threading.Thread(target=_beat, args=(folder, pulse, stop), daemon=True)
        thread.start()
        try:
            yield pulse
        finally:
            stop.set()
            thread.join()
            (folder / HEARTBEAT_NAME).unlink(missing_ok=True)


def clear_run(folder: Path) -> None:
    """Empty a run's folder that is held, but for the signs of life and the words of who asked for it."""
    for path in folder.iterdir():
        if path.name not in (LOCK_NAME, HEARTBEAT_NAME, f".{HEARTBEAT_NAME}", LABELS_NAME):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def is_held(folder: Path) -> bool:
    """Tell whether somebody runs this folder's experiment now."""
    beat = read_heartbeat(folder)
    if beat and _is_elsewhere(beat):
        return True
    path = folder / LOCK_NAME
    if not path.exists():
        return False
    try:
        FileLock(path).acquire(blocking=False).lock.release()
    except Timeout:
        return True
    except OSError:  # a folder that may only be read: its lock is not ours to try
        return beat is not None and beat.age < STALE_SECONDS
    return False


def read_heartbeat(folder: Path) -> Heartbeat | None:
    """Read the last sign of life, or None if there is none."""
    with suppress(OSError, ValueError, TypeError):
        return Heartbeat(**json.loads((folder / HEARTBEAT_NAME).read_text(encoding="utf-8")))
    return None


def _is_elsewhere(beat: Heartbeat) -> bool:
    return beat.host != socket.gethostname() and beat.age < STALE_SECONDS


def _beat(folder: Path, pulse: Pulse, stop: threading.Event) -> None:
    aside = folder / f".{HEARTBEAT_NAME}"
    while True:
        beat = Heartbeat(host=socket.gethostname(), pid=os.getpid(), time=time.time(), steps=pulse.steps)
        # A full disk ends no training here; the checkpoint or the journal will tell of it.
        with suppress(OSError):
            aside.write_text(json.dumps(asdict(beat)), encoding="utf-8")
            aside.replace(folder / HEARTBEAT_NAME)
        if stop.wait(BEAT_SECONDS):
            return
