"""A real MLflow server, and a stand-in before it, or alone, that fails in each of five ways or says what it is told."""

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

WELL = "well"
FAILURES = ("refused", "hanging", "500", "reset", "slow")
STARTS_WITHIN_SECONDS, ENDS_WITHIN_SECONDS = 90.0, 20.0
# Closes a connection by a reset, and not by an orderly end.
RESET = b"\1\0\0\0\0\0\0\0"
OOPS = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


def free_port():
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class FailingServer(socketserver.ThreadingTCPServer):
    """Passes requests to the server behind it, on another port of 127.0.0.1, and fails as its `mood` says.

    `refused` closes a connection at once, `hanging` reads and never answers, `healthy` does so unless it is asked for
    its health, `500` answers so, `reset` lets the server do what was asked and breaks off in the middle of its answer,
    `slow` takes .3 s for each. A mood of bytes is the answer itself. Requests are counted in `asked`, by mood.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, behind=None, mood=WELL):
        super().__init__(("127.0.0.1", 0), Connection)
        self.behind, self.mood, self.asked, self.port = behind, mood, Counter(), self.server_address[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __exit__(self, *_):
        self.mood = None
        self.shutdown()
        self.server_close()


class Connection(socketserver.BaseRequestHandler):
    """One request."""

    def handle(self):
        # The client may have lost patience.
        with contextlib.suppress(OSError):
            self.answer(self.server.mood)

    def answer(self, mood):
        self.server.asked[mood] += 1
        if mood == "refused":
            self.reset()
            return
        request = self.read()
        if mood == "healthy" and request.startswith(b"GET /health"):
            self.request.sendall(FINE)
        elif mood in ("hanging", "healthy"):
            while self.server.mood == mood:
                time.sleep(0.05)
        elif mood == "500" or isinstance(mood, bytes):
            self.request.sendall(OOPS if mood == "500" else mood)
        else:
            time.sleep(0.3 if mood == "slow" else 0)
            with socket.create_connection(("127.0.0.1", self.server.behind)) as there:
                there.sendall(request)
                answer = b"".join(iter(lambda: there.recv(65536), b""))
            if mood == "reset":  # the server has done it, and the client never learns so
                self.request.sendall(answer[: len(answer) // 2])
                self.reset()
            else:
                self.request.sendall(answer)

    def reset(self):
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.request.close()

    def read(self):
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


@contextlib.contextmanager
def mlflow_server(folder):
    """A real MLflow server on 127.0.0.1 with SQLite in a folder; gives its port."""
    port = free_port()
    words = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", folder / "files"]
    words += ["--host", "127.0.0.1", "--port", port, "--workers", "1"]
    with (folder / "log").open("w") as log:
        command = [sys.executable, "-m", "mlflow", "server", *map(str, words)]
        # Jobs are nothing that the suite asks for, and take processes of their own.
        env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=env, start_new_session=True)
        try:
            wait_for_answer(port)
            yield port
        finally:
            server.terminate()
            try:
                server.wait(ENDS_WITHIN_SECONDS)
            except subprocess.TimeoutExpired:  # with the processes that it has started
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def wait_for_answer(port):
    """Wait until the server answers from its database, whose tables it makes after it says that it is healthy."""
    address = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=1"
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(address, timeout=10).close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"the MLflow server did not answer within {STARTS_WITHIN_SECONDS:.0f} s")
