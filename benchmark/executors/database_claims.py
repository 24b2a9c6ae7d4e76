"""Claims in a table of PostgreSQL, for many machines without a shared folder: leases with a heartbeat."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError, without_password
from .claims import HEARTBEAT_SECONDS, HeartbeatThread

if TYPE_CHECKING:
    from psycopg import Connection

# A process that has not been heard of for so long is dead; one that is cut off for less keeps its claims.
LEASE_SECONDS = 9 * HEARTBEAT_SECONDS
TABLE = """
CREATE TABLE IF NOT EXISTS mltbench_claims (
    name text PRIMARY KEY, holder text, host text NOT NULL, process text NOT NULL,
    heartbeat timestamptz NOT NULL, outcome text NOT NULL DEFAULT '', reason text NOT NULL DEFAULT '', ended timestamptz
)
"""
TAKE = """
INSERT INTO mltbench_claims (name, holder, host, process, heartbeat)
VALUES (%(name)s, %(me)s, %(host)s, %(process)s, now())
ON CONFLICT (name) DO UPDATE SET
    holder = excluded.holder, host = excluded.host, process = excluded.process, heartbeat = now()
WHERE mltbench_claims.holder IS NULL OR mltbench_claims.holder IN (%(me)s, %(dead)s)
    OR mltbench_claims.heartbeat < now() - make_interval(secs => %(lease)s)
RETURNING name
"""
RELEASE = """
UPDATE mltbench_claims SET holder = NULL, outcome = %(outcome)s, reason = %(reason)s, ended = now()
WHERE name = %(name)s AND holder = %(me)s
"""


class DatabaseClaims:
    """Claims in PostgreSQL; a claim ends when it is released, or when its process has been silent for 90 s.

    Args:
        uri: of the database, as SQLAlchemy or psycopg writes it.
        lease: seconds of silence after which a claim is over.

    Raises:
        InputError: if the database does not answer, or psycopg is not installed.
    """

    def __init__(self, uri: str, *, lease: float = LEASE_SECONDS) -> None:
        _require_psycopg()
        self.uri = _for_psycopg(uri)
        self.me, self.lease = uuid.uuid4().hex, lease
        self.held: set[str] = set()
        self.trouble: str | None = None
        self._lock = threading.RLock()
        self._connection: Connection[Any] | None = None
        self._opened = self._ask(_open)
        if self.trouble:
            raise InputError(f"the database of claims {without_password(uri)} does not answer: {self.trouble}")
        self._heart = HeartbeatThread(self._beat, min(HEARTBEAT_SECONDS, lease / 4))
        self._heart.start()

    def take(self, name: str) -> bool:
        """Take an experiment; False if somebody else has it.

        A database that has gone away gives every claim, and `trouble` says why: training goes on.
        """
        found = self._ask(lambda connection: connection.execute(TAKE, self._terms(connection, name)).fetchone())
        taken = bool(found or self.trouble)
        if taken:
            self.held.add(name)
        return taken

    def holder(self, name: str) -> str:
        """Who has it, in words."""
        ask = "SELECT host, process, extract(epoch FROM now() - heartbeat) FROM mltbench_claims WHERE name = %s"
        row = self._ask(lambda connection: connection.execute(ask, [name]).fetchone())
        if row is None:
            return "another process"
        return f"process {row[1].partition('/')[0]} on {row[0]} (heartbeat {max(row[2], 0):.0f} s ago)"

    def outcome(self, name: str) -> tuple[str, str] | None:
        """How it ended for another process since these claims were opened."""
        ask = "SELECT outcome, reason FROM mltbench_claims WHERE name = %s AND ended >= %s AND outcome <> ''"
        row = self._ask(lambda connection: connection.execute(ask, [name, self._opened]).fetchone())
        return (row[0], row[1]) if row else None

    def release(self, name: str, outcome: str = "", reason: str = "") -> None:
        """Let an experiment go, and say how it ended."""
        self.held.discard(name)
        terms = {"name": name, "me": self.me, "outcome": outcome, "reason": reason}
        self._ask(lambda connection: connection.execute(RELEASE, terms))

    def close(self) -> None:
        """Let everything go."""
        self._heart.stop()
        for name in list(self.held):
            self.release(name)
        if self._connection is not None:
            self._connection.close()

    def _terms(self, connection: Connection[Any], name: str) -> dict[str, Any]:
        """Values for `TAKE`; the holder counts as dead if its process was on this machine and is no more."""
        row = connection.execute("SELECT holder, host, process FROM mltbench_claims WHERE name = %s", [name]).fetchone()
        dead = row is not None and row[1] == socket.gethostname() and not _lives(row[2])
        return {
            "name": name,
            "me": self.me,
            "host": socket.gethostname(),
            "process": f"{os.getpid()}/{_started(os.getpid())}",
            "dead": row[0] if dead and row else None,
            "lease": self.lease,
        }

    def _beat(self) -> None:
        if self.held:
            beat = "UPDATE mltbench_claims SET heartbeat = now() WHERE holder = %s"
            self._ask(lambda connection: connection.execute(beat, [self.me]))

    def _ask(self, question: Callable[[Connection[Any]], Any]) -> Any:
        """Ask the database, over a new connection if the old one is broken; None and `trouble` if it is away."""
        import psycopg

        with self._lock:
            for _ in range(2):
                try:
                    if self._connection is None or self._connection.closed:
                        self._connection = _connect(self.uri)
                    answer = question(self._connection)
                except psycopg.OperationalError as error:
                    self.trouble = without_password(str(error).strip().partition("\n")[0])
                    if self._connection is not None:
                        self._connection.close()
                else:
                    self.trouble = None
                    return answer
        return None


@contextmanager
def exclusively(uri: str, what: str) -> Iterator[None]:
    """Within, no other process is within the same of this database: two first starts at once would both make tables.

    Raises:
        InputError: if psycopg is not installed.
    """
    _require_psycopg()
    with _connect(_for_psycopg(uri)) as connection, connection.transaction():
        connection.execute("SET LOCAL statement_timeout = 60000")
        _lock(connection, what)
        yield


def _lock(connection: Connection[Any], what: str) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"mltbench {what}"])


def _for_psycopg(uri: str) -> str:
    return re.sub(r"^postgresql\+\w+:", "postgresql:", uri)


def _require_psycopg() -> None:
    if importlib.util.find_spec("psycopg") is None:
        raise InputError("PostgreSQL needs the package psycopg: pip install 'mltbench[postgresql]'")


def _connect(uri: str) -> Connection[Any]:
    import psycopg

    # Bounded patience: 5 s to connect, 10 s for an answer that the network has lost.
    return psycopg.connect(
        uri, autocommit=True, connect_timeout=5, tcp_user_timeout=10_000, options="-c statement_timeout=10000"
    )


def _open(connection: Connection[Any]) -> Any:
    with connection.transaction():
        _lock(connection, "claims")
        connection.execute("SET LOCAL client_min_messages = warning")
        connection.execute(TABLE)
    row = connection.execute("SELECT now()").fetchone()
    return row[0] if row else None


def _started(process: int) -> str:
    """When a process started, in the kernel's ticks, so that a reused number is another process; empty off Linux."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _lives(process: str) -> bool:
    number, _, started = process.partition("/")
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return not started or _started(int(number)) == started
