"""Several workers on one study, in processes of their own; one of them is killed in a trial."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.tracking.store import open_store
from mltbench.methods.plugins import load_plugins
from mltbench.studies.sweeps.registry import Sweep
from mltbench.studies.tuning.definition import equal_budget
from mltbench.studies.tuning.designs import Setting, sweeping
from mltbench.studies.tuning.open_study import begin_study, join_study, result_of
from mltbench.studies.tuning.worker import laboratory_of, work

PLUGIN = """
import mltbench
from mltbench.benchmark.training.check import tiny_dataset
from mltbench.datasets.registry import DatasetEntry

def refuse():
    raise AssertionError("a study opened the test split")

tiny = tiny_dataset()
sealed = mltbench.Dataset(
    name="sealed", classes=tiny.classes, digests=tiny.digests, openers={**tiny.openers, "test": refuse}
)
mltbench.register_dataset(
    DatasetEntry(
        name="sealed", summary="", source="", open=lambda root: sealed, recipe="digits-smoke", backbone="digits-resnet"
    )
)
"""
VALUES = (0.1, 0.2, 0.3, 0.4)
EVERY_TRIAL = [(mu, seed) for mu in VALUES for seed in (0, 1)]
LIMIT_SECONDS = 240


@pytest.fixture
def plugin(own_registrations, tmp_path):
    path = tmp_path / "sealed.py"
    # Another text is another module: one that an earlier test imported registers nothing again.
    path.write_text(f"# {tmp_path.name}{PLUGIN}")
    load_plugins([str(path)])
    return path


def begin(surroundings, root, url, *, seeds=(0, 1)):
    setting = Setting(
        dataset="sealed",
        open_dataset=laboratory_of(root, surroundings).open_dataset,
        overrides=("recipe.batch_size=8", "recipe.resampled.epochs=40"),
    )
    sweep = Sweep(name="x", summary="", reference="", methods=("r-bce",), grid={"method.mu": VALUES})
    definition = sweeping("x", sweep, setting, seeds=seeds)
    return begin_study(definition, equal_budget(definition.arms, len(VALUES), len(seeds)), root, url)


def start_worker(root, plugin, url, tracking_uri=None):
    command = [sys.executable, "-m", "mltbench", "study", "worker", "x", "--out", str(root), "--plugin", str(plugin)]
    command += ["--grace", "10", *(["--storage", url] if url else [])]
    command += ["--tracking-uri", tracking_uri] if tracking_uri else []
    environment = {**os.environ, "MLTBENCH_DATA": str(root)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_until(condition, what):
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def kill_one(workers, study, is_training):
    """Kill the first worker when it trains; the others must end well."""
    try:
        wait_until(is_training, "no training began")
        os.kill(workers[0].pid, signal.SIGKILL)
        workers[0].communicate()
        for worker in workers[1:]:
            _, errors = worker.communicate(timeout=LIMIT_SECONDS)
            assert worker.returncode == 0, errors
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
                worker.communicate()
        study.close()


def require_all_once(arm, root, url):
    """Every point is finished with every seed once; the killed worker's trial was lost, and queued again once.

    On a busy machine a worker may be silent for longer than the grace; its trial is then lost and queued again too.
    Two workers may reach for the last waiting trial: who comes too late begins a trial of no point, and ends it.
    """
    done = join_study("x", root, url)
    trials = done.arms[arm.name].get_trials()
    done.close()
    finished = [(result_of(t)["settings"]["method.mu"], t.user_attrs["seeds"][0]) for t in trials if result_of(t)]
    assert sorted(finished) == EVERY_TRIAL
    without_result = [trial for trial in trials if not result_of(trial)]
    assert {trial.state.name for trial in without_result} == {"FAIL"}
    lost = [trial for trial in without_result if "seeds" in trial.user_attrs]
    assert lost
    for trial in lost:
        (copy,) = (t for t in trials if t.system_attrs.get("retry_history", [])[-1:] == [trial.number])
        assert copy.user_attrs["seeds"] == trial.user_attrs["seeds"]


def test_a_worker_killed_in_a_trial_loses_and_doubles_none_on_a_journal_file(plugin, surroundings, tmp_path):
    study = begin(surroundings, tmp_path, None)
    (arm,) = study.definition.arms
    workers = [start_worker(tmp_path, plugin, None) for _ in range(2)]
    journals = tmp_path / "trials"
    both_train = lambda: len(list(journals.glob("*/journal.jsonl"))) >= 2 == len(study.progress(arm).running)  # noqa: E731
    kill_one(workers, study, both_train)
    require_all_once(arm, tmp_path, None)


@pytest.mark.parametrize("machines", [2, pytest.param(4, marks=pytest.mark.soak)])
def test_workers_without_a_shared_folder_share_a_study_on_postgresql(
    machines, plugin, surroundings, tmp_path, studies_uri, postgresql_uri
):
    """Optuna and MLflow in PostgreSQL, a folder of its own for each worker; one is killed in a trial."""
    study = begin(surroundings, tmp_path, studies_uri)
    (arm,) = study.definition.arms
    roots = [tmp_path / f"machine {number}" for number in range(machines)]
    workers = [start_worker(root, plugin, studies_uri, postgresql_uri) for root in roots]
    kill_one(workers, study, lambda: list((roots[0] / "trials").glob("*/journal.jsonl")))
    require_all_once(arm, tmp_path, studies_uri)
    store = open_store(tmp_path, postgresql_uri, create=False)
    runs = store.runs_of(kind="trial")
    assert {run.info.status for run in runs} == {"FINISHED"}
    in_mlflow = [
        (json.loads(run.data.tags["mltbench.parameters"])["method.mu"], int(run.data.tags["mltbench.seed"]))
        for run in runs
    ]
    assert sorted(in_mlflow) == EVERY_TRIAL
    (study_run,) = store.runs_of(kind="study")
    assert {run.data.tags["mltbench.study"] for run in runs} == {study_run.data.tags["mltbench.study"]}


def test_ctrl_c_queues_the_trial_again_and_its_training_goes_on(plugin, surroundings, tmp_path):
    study = begin(surroundings, tmp_path, None, seeds=[0])
    (arm,) = study.definition.arms
    worker = start_worker(tmp_path, plugin, None)
    trained = lambda: any(len(read_journal(folder)) > 3 for folder in (tmp_path / "trials").glob("*/"))  # noqa: E731
    wait_until(trained, "no training began")
    worker.send_signal(signal.SIGINT)
    _, errors = worker.communicate(timeout=LIMIT_SECONDS)
    assert worker.returncode == 130, errors
    assert study.progress(arm).running == ()
    begun = len(study.progress(arm).finished)
    assert study.progress(arm).waiting == len(VALUES) - begun
    work(study, laboratory_of(tmp_path, surroundings))
    assert len(study.progress(arm).finished) == len(VALUES)
    for folder in (tmp_path / "trials").glob("*/"):
        assert [entry.event for entry in read_journal(folder)].count("start") == 1
