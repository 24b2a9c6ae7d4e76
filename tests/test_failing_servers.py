"""A tracking server that answers at the start and then fails, in each of five ways, costs a plan nothing."""

import contextlib
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
from mltbench.benchmark.claims import open_claims
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.journal import read_journal
from mltbench.benchmark.plan import build_plan
from mltbench.benchmark.reconciling import find, mend, not_in_mlflow, sync
from mltbench.benchmark.session import carry_out
from mltbench.benchmark.store import open_store

MOODS = ["refused", "hanging", "500", "reset", "slow"]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory, empty_database):
    """A real MLflow server on 127.0.0.1; gives its port."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    shutil.copy(empty_database, folder)
    words = ["server", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--port", str(port)]
    words += ["--host", "127.0.0.1", "--artifacts-destination", str(folder / "files"), "--workers", "1"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", "mlflow", *words], stdout=log, stderr=log, cwd=folder)
        try:
            for _ in range(600):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                    break
                time.sleep(0.1)
            yield port
        finally:
            server.terminate()
            server.wait(20)


class Proxy(socketserver.ThreadingTCPServer):
    """Stands before the server, and fails as `mood` says: well, refused, hanging, 500, reset or slow."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, behind):
        super().__init__(("127.0.0.1", 0), Connection)
        self.behind, self.mood, self.asked = behind, "well", 0
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


class Connection(socketserver.BaseRequestHandler):
    """One request: read whole, handed on, its answer given back as the mood is."""

    def handle(self):
        mood = self.server.mood
        self.server.asked += 1
        if mood == "refused":
            return self.reset()
        request = self.read()
        if mood == "hanging":
            while self.server.mood == "hanging":
                time.sleep(0.05)
            return None
        if mood == "500":
            return self.request.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        if mood == "slow":
            time.sleep(0.3)
        with socket.create_connection(("127.0.0.1", self.server.behind)) as there:
            there.sendall(request)
            answer = b"".join(iter(lambda: there.recv(65536), b""))
        if mood == "reset":  # the server has done it, and the client never learns so
            self.request.sendall(answer[: len(answer) // 2])
            return self.reset()
        return self.request.sendall(answer)

    def reset(self):
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.request.close()

    def read(self):
        data = b""
        while b"\r\n\r\n" not in data and (part := self.request.recv(65536)):
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        lengths = [int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")]
        while lengths and len(body) < lengths[0] and (part := self.request.recv(65536)):
            body += part
        return b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body


class FailsFrom:
    """An executor under which the server begins to fail before the first job."""

    def __init__(self, proxy, mood):
        self.proxy, self.mood = proxy, mood

    def run(self, jobs):
        self.proxy.mood = self.mood
        yield from InProcess().run(jobs)


@pytest.mark.parametrize("mood", MOODS)
def test_a_server_that_fails_in_mid_plan_loses_and_doubles_nothing(
    mood, mlflow_server, dataset, surroundings, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    proxy = Proxy(mlflow_server)
    store = open_store(tmp_path / "out", f"http://127.0.0.1:{proxy.server_address[1]}")
    quick = ("recipe.plain.epochs=2", "recipe.batch_size=8")
    seeds = [10 + 2 * MOODS.index(mood), 11 + 2 * MOODS.index(mood)]  # one server keeps the runs of all moods
    plan = build_plan(dataset, ["erm"], seeds=seeds, overrides=quick)
    before = time.monotonic()
    summary = carry_out(plan, store, FailsFrom(proxy, mood), surroundings)
    seconds = time.monotonic() - before
    assert summary.trained == list(plan.experiments)
    assert (len(summary.not_uploaded) == 0) == (mood == "slow")
    assert seconds < 60

    proxy.mood = "well"
    claims = open_claims(store.root, store.tracking_uri)
    for _ in range(2):
        assert [problem for _, problem in sync(store, not_in_mlflow(store), claims) if problem] == []
    assert list(mend(store, find(store), claims)) == []
    claims.close()
    ids = {planned.experiment.id for planned in plan.experiments}
    runs = [run for run in store.runs_of() if run.data.tags["mltbench.experiment_id"] in ids]
    assert sorted(run.data.tags["mltbench.experiment_id"] for run in runs) == sorted(ids)
    for run in runs:
        assert run.info.status == "FINISHED"
        points = {
            (name, p.step, p.timestamp, p.value)
            for name in run.data.metrics
            for p in store.client.get_metric_history(run.info.run_id, name)
        }
        entries = read_journal(store.runs / run.data.tags["mltbench.experiment_id"])
        assert points == {(n, e.step, e.time, v) for e in entries for n, v in e.metrics.items()}
        names = {file.path for file in store.client.list_artifacts(run.info.run_id)}
        assert {"weights.pt", "test_scores.npz", "journal.jsonl"} <= names
    proxy.shutdown()
    proxy.server_close()
