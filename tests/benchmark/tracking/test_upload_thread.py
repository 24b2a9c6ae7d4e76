"""A tracking server that answers at the start and then fails, in each of five ways, costs a plan nothing."""

import shutil
import time

import pytest
from failing_server import FAILURES, WELL, FailingServer, mlflow_server
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.executors.run_plan import run_plan
from mltbench.benchmark.runs.folder import RunFolder
from mltbench.benchmark.tracking import upload
from mltbench.benchmark.tracking.store import open_store
from mltbench.benchmark.tracking.sync import agree, find
from plans import require_each_point_once, tiny_plan

TWO_EPOCHS = ("recipe.plain.epochs=2", "recipe.batch_size=8")


@pytest.fixture(scope="module")
def server_port(tmp_path_factory, empty_database):
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_database, folder)
    with mlflow_server(folder) as port:
        yield port


@pytest.fixture
def server(server_port, monkeypatch):
    """A real MLflow server that fails as its mood says."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    failing = FailingServer(server_port)
    yield failing
    failing.close()


@pytest.fixture
def quick(monkeypatch):
    """Uploads are tried again at once."""
    monkeypatch.setattr(upload, "FIRST_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(upload, "LONGEST_WAIT_SECONDS", 0.2)


class Failing:
    """An executor under which the server is in the next mood after each job, and is asked in each."""

    def __init__(self, server, moods):
        self.server, self.moods = server, list(moods)

    def run(self, jobs):
        for job in jobs:
            yield from InProcess().run([job])
            if self.moods:
                self.server.mood = self.moods.pop(0)
                deadline = time.monotonic() + 30
                while self.server.asked[self.server.mood] < 2:
                    assert time.monotonic() < deadline, f"nobody asked the server that is {self.server.mood}"
                    time.sleep(0.02)


def test_a_server_that_fails_in_all_five_ways_in_one_run_loses_and_doubles_nothing(
    server, dataset, settings, tmp_path, quick
):
    store, plan = open_store(tmp_path / "out", server.uri), tiny_plan(overrides=TWO_EPOCHS, seeds=range(30, 37))
    summary = run_plan(plan, store, settings, executor=Failing(server, [*FAILURES, WELL]))
    assert summary.trained == list(plan.experiments)
    assert summary.not_uploaded == [], "the uploader catches up by itself"
    assert min(server.asked[mood] for mood in FAILURES) >= 2
    require_each_point_once(store, plan)


@pytest.mark.soak
@pytest.mark.parametrize("mood", FAILURES)
def test_a_server_that_fails_in_mid_plan_loses_and_doubles_nothing(mood, server, dataset, settings, tmp_path):
    store = open_store(tmp_path / "out", server.uri)
    first = 10 + 2 * FAILURES.index(mood)  # one server keeps the runs of all moods
    plan = tiny_plan(overrides=TWO_EPOCHS, seeds=[first, first + 1])
    before = time.monotonic()
    summary = run_plan(plan, store, settings, executor=Failing(server, [mood]))
    assert time.monotonic() - before < 60
    assert summary.trained == list(plan.experiments)
    assert (len(summary.not_uploaded) == 0) == (mood == "slow")

    server.mood = WELL
    for _ in range(2):
        assert [reason for _, reason in agree(store, find(store, everything=True)) if reason] == []
    assert find(store) == []
    require_each_point_once(store, plan)


def test_a_run_that_another_process_holds_is_uploaded_when_it_lets_go(dataset, store, settings, quick):
    plan = tiny_plan()
    (planned,) = plan.experiments
    assert run_plan(plan, store, settings).trained == [planned]
    (run,) = store.runs_of()
    store.client.delete_run(run.info.run_id)
    with RunFolder(store.runs / planned.experiment.id).hold():
        uploads = upload.UploadThread(store, plan)
        uploads.put(planned)
        ((left, reason),) = uploads.finish(patience=3)
        assert (left, "is being run by process" in reason) == (planned, True)
    assert uploads.finish() == []
    require_each_point_once(store, plan)
