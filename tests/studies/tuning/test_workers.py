"""Several workers on one study, in processes of their own; one of them is killed in a trial."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.tracking.store import open_store
from mltbench.studies.tuning.definition import tuning
from mltbench.studies.tuning.study import StudyStorage, begin_study, result_of
from mltbench.studies.tuning.worker import run_trials, run_workers

# The grid of method.mu, and its default.
VALUES = [0, 0.3, 0.5, 1]
LIMIT_SECONDS = 240


@pytest.fixture
def begin(setting, tmp_path):
    """Begins a study of four trials, each long enough to be killed in."""

    def begin(url=None):
        long = replace(setting, overrides=("recipe.batch_size=8", "recipe.resampled.epochs=40"))
        options = {"objective": "total", "sampler": "grid", "seeds_per_trial": 1, "prune": False}
        definition = tuning("x", ["r-bce"], long, parameters=["method.mu"], **options)
        return begin_study(definition, len(VALUES), StudyStorage(root=tmp_path, url=url, grace=5))

    return begin


@pytest.fixture
def start_worker(plugin):
    started = []

    def start_worker(root, *options):
        command = [sys.executable, "-m", "mltbench", "study", "worker", "x", "--out", root, "--data-root", root]
        command += ["--plugin", plugin, "--grace", "5", *options]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start_worker
    for worker in started:
        worker.kill()
        worker.wait()
        worker.stderr.close()


def journals(root):
    return [entries for folder in (root / "trials").glob("*/") if (entries := read_journal(folder))]


def wait_until(condition):
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def require_all_once(study):
    """Every point is finished once; the killed worker's trial was lost, and queued again with its parameters.

    On a busy machine a worker may be silent for longer than the grace; its trial is then lost and queued again too.
    """
    trials = study.arms["r-bce@tiny"].get_trials()
    assert sorted(result_of(trial)["settings"]["method.mu"] for trial in trials if result_of(trial)) == VALUES
    lost = [trial for trial in trials if not result_of(trial) and trial.params]
    assert lost
    assert {trial.state.name for trial in trials if not result_of(trial)} == {"FAIL"}
    for trial in lost:
        (copy,) = (t for t in trials if t.system_attrs.get("retry_history", [])[-1:] == [trial.number])
        assert copy.params == trial.params


def test_a_worker_killed_in_a_trial_loses_and_doubles_none_in_a_sqlite_file(begin, settings, tmp_path):
    study, killed = begin(), []

    def kill_one():
        if not killed and len(journals(tmp_path)) >= 2 == study.running():
            killed.append(multiprocessing.active_children()[0])
            os.kill(killed[0].pid, signal.SIGKILL)

    run_workers(study, replace(settings, workers=2), None, kill_one)
    assert killed
    require_all_once(study)


@pytest.mark.parametrize("machines", [2, pytest.param(4, marks=pytest.mark.soak)])
def test_workers_without_a_shared_folder_share_a_study_on_postgresql(
    machines, begin, start_worker, tmp_path, studies_uri, postgresql_uri
):
    """Optuna and MLflow in PostgreSQL, a folder of its own for each worker; one is killed in a trial."""
    study = begin(studies_uri)
    roots = [tmp_path / f"machine {number}" for number in range(machines)]
    workers = [start_worker(root, "--storage", studies_uri, "--tracking-uri", postgresql_uri) for root in roots]
    wait_until(lambda: journals(roots[0]))
    workers[0].kill()
    for worker in workers[1:]:
        assert worker.wait(LIMIT_SECONDS) == 0, worker.stderr.read()
    require_all_once(study)
    store = open_store(tmp_path, postgresql_uri, create=False)
    runs = store.runs_of(kind="trial")
    assert {run.info.status for run in runs} == {"FINISHED"}
    # A database keeps no files: they lie beside the journals of the first machine that needed a place for them.
    assert all("/artifacts/tiny/" in run.info.artifact_uri for run in runs)
    assert sorted(json.loads(run.data.tags["mltbench.parameters"])["method.mu"] for run in runs) == VALUES
    assert len(store.runs_of(kind="study")) == 1


def test_ctrl_c_queues_the_trial_again_and_its_training_resumes(begin, start_worker, settings, tmp_path):
    study = begin()
    (arm,) = study.definition.arms
    worker = start_worker(tmp_path)
    wait_until(lambda: any(len(entries) > 3 for entries in journals(tmp_path)))
    worker.send_signal(signal.SIGINT)
    assert worker.wait(LIMIT_SECONDS) == 130, worker.stderr.read()
    progress = study.progress(arm)
    assert (progress.running, progress.waiting) == ((), len(VALUES) - len(progress.finished))
    run_trials(study, settings)
    assert len(study.progress(arm).finished) == len(VALUES)
    for entries in journals(tmp_path):
        assert [entry.event for entry in entries].count("start") == 1
