"""Claims: who trains what, so that the same plan started twice trains each experiment once."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from ...errors import InputError, without_password

HEARTBEAT_SECONDS = 10.0


class Claims(Protocol):
    """Experiments that processes have taken for themselves, by experiment id."""

    def take(self, name: str) -> bool:
        """Take an experiment; False if somebody else has it."""

    def holder(self, name: str) -> str:
        """Who has it, in words."""

    def outcome(self, name: str) -> tuple[str, str] | None:
        """How it ended for another process since these claims were opened (`finished` or `failed`, reason)."""

    def release(self, name: str, outcome: str = "", reason: str = "") -> None:
        """Let an experiment go, and say how it ended."""

    def close(self) -> None:
        """Let everything go."""


class FolderClaims:
    """Claims by locked files in a folder, on one machine or on a shared folder.

    The operating system holds the lock and frees it when the process ends, however it ends: a dead process holds no
    claim, and two can never have the same. The text beside it (host, process, heartbeat) is for people.

    Args:
        folder: of the lock files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held: dict[str, FileLock] = {}
        self._heart = HeartbeatThread(self._beat)

    def take(self, name: str) -> bool:
        """Take an experiment; False if somebody else has it.

        Raises:
            InputError: if the file system has no locks.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / f"{name}.lock", thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        except (NotImplementedError, OSError) as error:
            raise InputError(
                f"{self.folder} cannot lock files ({error}); keep results on a file system with locks (--out), or let "
                "PostgreSQL keep the claims: --claims postgresql://USER@HOST/DATABASE"
            ) from error
        self.held[name] = lock
        self._note(name).write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        self._heart.start()
        return True

    def holder(self, name: str) -> str:
        """Who has it, in words."""
        try:
            note = json.loads(self._note(name).read_text())
            age = max(time.time() - self._note(name).stat().st_mtime, 0)
        except (OSError, ValueError):
            return "another process"
        return f"process {note['pid']} on {note['host']} (heartbeat {age:.0f} s ago)"

    def outcome(self, name: str) -> tuple[str, str] | None:
        """Nothing: the journals in the shared folder tell it."""
        return None

    def release(self, name: str, outcome: str = "", reason: str = "") -> None:
        """Let an experiment go."""
        lock = self.held.pop(name, None)
        if lock is not None:
            self._note(name).unlink(missing_ok=True)
            lock.release()

    def close(self) -> None:
        """Let everything go."""
        self._heart.stop()
        for name in list(self.held):
            self.release(name)

    def _note(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _beat(self) -> None:
        for name in list(self.held):
            try:
                os.utime(self._note(name))
            except OSError:  # released in this moment, or the disk is away: the lock itself decides
                continue


class HeartbeatThread:
    """Calls a function every so many seconds from a thread of its own, from `start` to `stop`."""

    def __init__(self, beat: Callable[[], None], seconds: float = HEARTBEAT_SECONDS) -> None:
        self._beat, self._seconds = beat, seconds
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless it has begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End, and wait for the last beat."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            self._beat()


def open_claims(root: Path, tracking_uri: str, claims_uri: str | None = None) -> Claims:
    """Claims in PostgreSQL where there is one, else by locked files under the results root.

    Args:
        root: results root.
        tracking_uri: of MLflow; a PostgreSQL there keeps the claims as well.
        claims_uri: of a PostgreSQL for claims alone.

    Raises:
        InputError: if the database does not answer, or its driver is not installed.
    """
    uri = claims_uri or tracking_uri
    if uri.startswith("postgresql"):
        from .database_claims import DatabaseClaims

        return DatabaseClaims(uri)
    if claims_uri:
        raise InputError(
            f"--claims {without_password(claims_uri)!r} must be a PostgreSQL, such as postgresql://USER@HOST/DATABASE"
        )
    return FolderClaims(root / "claims")
