"""A proxy before a tracking server that fails in each of five ways: what tests and `mltbench bench` hold us to."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

WELL = "well"
FAILURES = ("refused", "hanging", "500", "reset", "slow")
STARTS_WITHIN_SECONDS, ENDS_WITHIN_SECONDS = 90.0, 20.0
SLOW_SECONDS = 0.3
# Closes a connection by a reset, and not by an orderly end.
RESET = b"\1\0\0\0\0\0\0\0"
OOPS = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class FailingServer(socketserver.ThreadingTCPServer):
    """Hands requests on to a server behind it, and fails as its mood says; listens on 127.0.0.1.

    `refused` closes a connection at once, `hanging` reads and never answers, `500` answers so, `reset` lets the server
    do what was asked and breaks off in the middle of its answer, `slow` takes a while for each.

    Args:
        behind: port of the server on 127.0.0.1.

    Attributes:
        mood: one of `FAILURES`, or `well`.
        asked: requests by mood.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, behind: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.behind, self.mood = behind, WELL
        self.asked: Counter[str] = Counter()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def uri(self) -> str:
        """Tracking URI."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        """Answer no more."""
        self.shutdown()
        self.server_close()


class _Connection(socketserver.BaseRequestHandler):
    """One request: read whole, handed on, its answer given back as the mood is."""

    server: ClassVar[FailingServer]  # type: ignore[misc]

    def handle(self) -> None:
        # Whoever asked may have lost patience.
        with contextlib.suppress(OSError):
            self._answer(self.server.mood)

    def _answer(self, mood: str) -> None:
        self.server.asked[mood] += 1
        if mood == "refused":
            self._reset()
            return
        request = self._read()
        if mood == "hanging":
            while self.server.mood == "hanging":
                time.sleep(0.05)
        elif mood == "500":
            self.request.sendall(OOPS)
        else:
            time.sleep(SLOW_SECONDS if mood == "slow" else 0)
            answer = self._hand_on(request)
            if mood == "reset":  # the server has done it, and the client never learns so
                self.request.sendall(answer[: len(answer) // 2])
                self._reset()
            else:
                self.request.sendall(answer)

    def _hand_on(self, request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.server.behind)) as there:
            there.sendall(request)
            return b"".join(iter(lambda: there.recv(65536), b""))

    def _reset(self) -> None:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.request.close()

    def _read(self) -> bytes:
        """The whole request, which asks for the connection's end after its answer."""
        data = b""
        while b"\r\n\r\n" not in data and (part := self.request.recv(65536)):
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        lengths = [int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")]
        while lengths and len(body) < lengths[0] and (part := self.request.recv(65536)):
            body += part
        return b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body


@contextmanager
def mlflow_server(folder: Path) -> Iterator[int]:
    """A real MLflow server on 127.0.0.1 with SQLite in a folder; gives its port.

    Raises:
        RuntimeError: if it does not answer in time.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    words = ["server", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--port", str(port)]
    words += ["--host", "127.0.0.1", "--artifacts-destination", str(folder / "files"), "--workers", "1"]
    with (folder / "log").open("w") as log:
        command = [sys.executable, "-m", "mlflow", *words]
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
        try:
            _wait_for_answer(port)
            yield port
        finally:
            _end(server)


def _wait_for_answer(port: int) -> None:
    """Wait until the server answers from its database, whose tables it makes after it says that it is healthy."""
    address = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=1"
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(address, timeout=10).close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"the MLflow server did not answer within {STARTS_WITHIN_SECONDS:.0f} s")


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server with the processes that it has started."""
    server.terminate()
    try:
        server.wait(ENDS_WITHIN_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
