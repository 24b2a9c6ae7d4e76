import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import sqlalchemy
from crashes import KILLED, METHODS, Events, fingerprint, in_child, resumed, run_killed, small_job
from mlflow import MlflowClient
from mltbench.benchmark.executors.run_plan import run_plan
from mltbench.benchmark.executors.settings import RunSettings
from mltbench.benchmark.runs.verification import compare_runs
from mltbench.benchmark.tracking import upload
from mltbench.benchmark.tracking.store import open_store
from mltbench.benchmark.training.execution import Execution
from plans import require_each_point_once, tiny_plan

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")


@pytest.fixture(params=METHODS)
def uninterrupted(request, dataset, tmp_path):
    """A method, the events of its run, and what it comes to when nothing kills it."""
    job = small_job(tmp_path / "whole", request.param)
    assert in_child(run_killed, job, None) == 0
    events = (tmp_path / "whole.events").read_text().splitlines()
    return request.param, events, fingerprint(tmp_path / "whole")


@pytest.mark.parametrize("stride", [61, pytest.param(1, marks=pytest.mark.soak)])
def test_a_run_killed_at_its_events_comes_to_the_same_bits(stride, uninterrupted, tmp_path):
    name, events, expected = uninterrupted
    assert {"before step", "half a line", "before fsync", "after replace", "before append"} <= set(events)
    for point in range(METHODS.index(name) if stride > 1 else 0, len(events), stride):
        job = small_job(tmp_path / str(point), name)
        assert in_child(run_killed, job, point) == KILLED
        assert resumed(job) == expected, events[point]


CALLS = ("create_run", "log_batch", "log_inputs", "set_terminated", "search_runs")
TWO_EPOCHS = ("recipe.plain.epochs=2", "recipe.plain.decay_after=[]", "recipe.neck_width=8", "recipe.image_size=16")


def plan_is_run(root, plan, kill_at=None):
    """Run a plan with every call to MLflow and every copied file as an event, and die at one of them."""
    events = Events(kill_at)
    for call in CALLS:
        events.before(MlflowClient, call)
    events.before(upload, "replacing", "copy")
    run_plan(plan, open_store(root), RunSettings(data_root=root, execution=Execution(evaluate_every=1)))
    (root / "events").write_text("\n".join(events.seen))


@pytest.mark.parametrize("stride", [15, pytest.param(1, marks=pytest.mark.soak)])
def test_a_plan_killed_at_calls_to_mlflow_uploads_every_point_once(stride, dataset, empty_database, tmp_path):
    """Kill a plan at calls to MLflow, run it again, and compare every point with the journal."""
    plan = tiny_plan(overrides=TWO_EPOCHS)

    def fresh(name):
        (tmp_path / name).mkdir()
        shutil.copy(empty_database, tmp_path / name)
        return tmp_path / name

    assert in_child(plan_is_run, fresh("whole"), plan) == 0
    events = (tmp_path / "whole" / "events").read_text().splitlines()
    assert {f"before {call}" for call in (*CALLS[:-1], "copy")} <= set(events)
    for point in range(0, len(events), stride):
        root = fresh(str(point))
        assert in_child(plan_is_run, root, plan, point) == KILLED
        assert in_child(plan_is_run, root, plan) == 0
        store = open_store(root)
        assert len(store.runs_of()) == 1, events[point]
        require_each_point_once(store, plan)


@pytest.mark.parametrize("statement", [1, 40, 200])
def test_killed_while_mlflow_makes_its_tables_the_store_opens_the_next_time(statement, tables_by_mlflow, tmp_path):
    def killed():
        done = itertools.count(1)

        def count(*_):
            if next(done) == statement:
                os.kill(os.getpid(), signal.SIGKILL)

        sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", count)
        open_store(tmp_path)

    assert in_child(killed) == -signal.SIGKILL
    assert open_store(tmp_path).runs_of("tiny") == []
    assert not list(tmp_path.glob("*.new*"))


@pytest.mark.soak
def test_the_command_line_killed_20_times_comes_to_the_same_bits(own_folder, tmp_path):
    generator, kills = random.Random(20), 0
    command = [sys.executable, "-m", "mltbench", "run", "--method", "erm", "--method", "db-focal", "--device", "cpu"]
    command += ["--workers", "2", "--checkpoint-every", "0.5"]
    subprocess.run([*command, "--out", "whole"], check=True, stdout=subprocess.DEVNULL)
    while kills < 20:
        shutil.rmtree(tmp_path / "killed", ignore_errors=True)
        for _ in range(3):
            process = subprocess.Popen([*command, "--out", "killed"], stdout=subprocess.DEVNULL)
            time.sleep(generator.uniform(2, 15))
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
        done = subprocess.run([*command, "--out", "killed"], check=False, stdout=subprocess.DEVNULL)
        assert done.returncode == 0
        for run in (tmp_path / "whole" / "runs").iterdir():
            compared = compare_runs(run, tmp_path / "killed" / "runs" / run.name)
            assert all(item.same for item in compared), compared
