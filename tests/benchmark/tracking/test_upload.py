"""What a run is in MLflow, and that it comes there exactly once."""

import json
import shutil
import sqlite3
import time
from dataclasses import replace

import numpy as np
import pytest
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.executors.run_plan import run_plan
from mltbench.benchmark.executors.settings import RunSettings
from mltbench.benchmark.experiments.plan import build_plan
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.tracking.store import Store, open_store
from mltbench.benchmark.tracking.upload import upload
from mltbench.benchmark.training.execution import Execution
from mltbench.datasets.registry import load_dataset
from plans import contents, make_plan, points, require_each_point_once
from sklearn.metrics import average_precision_score

METHODS = ("erm", "db-focal")
GROUPS = ("head", "medium", "tail")
QUICK = ("recipe.plain.epochs=1", "recipe.resampled.epochs=2")


@pytest.fixture(scope="module")
def plan(data_root):
    return build_plan(load_dataset("digits-mlt", data_root=data_root), METHODS, seeds=[0], overrides=QUICK)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, empty_database, plan, data_root):
    """A store in which the plan was run, and what became of it."""
    root = tmp_path_factory.mktemp("results")
    shutil.copy(empty_database, root)
    store = open_store(root)
    everything = RunSettings(data_root=data_root, execution=Execution(evaluate_every=1))
    return store, run_plan(plan, store, everything)


@pytest.fixture(params=METHODS)
def run(request, trained, plan):
    """One run in MLflow with its experiment and its folder."""
    store, _ = trained
    experiment = next(p.experiment for p in plan.experiments if p.experiment.method.name == request.param)
    (found,) = (r for r in store.runs_of("digits-mlt") if r.data.tags["mltbench.experiment_id"] == experiment.id)
    return found, experiment, store.runs / experiment.id


def test_a_plan_is_trained_and_uploaded(trained, plan):
    store, summary = trained
    require_each_point_once(store, plan)
    assert len(summary.trained) == len(plan.experiments)
    assert (summary.failed, summary.skipped, summary.not_uploaded) == ([], [], [])


def test_an_experiment_is_a_run_that_names_its_plan(run, plan):
    found, _, folder = run
    entries = read_journal(folder)
    assert (found.info.start_time, found.info.end_time) == (entries[0].time, entries[-1].time)
    assert (found.info.status, found.data.tags["mltbench.plan"]) == ("FINISHED", plan.name)
    assert "mlflow.parentRunId" not in found.data.tags


def test_parameters_are_all_that_decides(run):
    found, experiment, _ = run
    expected = {"method": experiment.method.name, "dataset": "digits-mlt", "seed": "0", "recipe.learning_rate": "0.2"}
    expected |= {f"method.{name}": str(value) for name, value in experiment.method.parameters.items()}
    expected |= {"recipe.schedule.epochs": str(experiment.training["schedule"]["epochs"]), "recipe.batch_size": "32"}
    expected |= {"recipe.augmentation.smallest_crop": "0.8", "backbone": "digits-resnet"}
    expected |= {"input.mean": "[0.45, 0.45, 0.45]", "recipe.schedule.decay_after": "(18, 23)"}
    if experiment.method.name == "db-focal":
        expected["recipe.schedule.decay_after"] = "(5, 7)"
    assert expected.items() <= found.data.params.items()


def test_metrics_have_their_steps(trained, run):
    store, _ = trained
    found, experiment, _ = run
    epochs, steps = experiment.training["schedule"]["epochs"], {}
    for name, step, *_ in points(store, found):
        steps.setdefault(name, []).append(step)
    for name in ("train/loss", "train/learning_rate", "validation/total", "validation/tail"):
        assert steps[name] == list(range(1, epochs + 1))
    assert all(steps[f"test/{name}"] == [epochs] for name in ("total", *GROUPS))
    assert {"cost/train_seconds", "cost/images_per_second", "cost/peak_memory_mib"} < set(steps)


def test_the_dataset_is_recorded_with_its_digest(run):
    found, experiment, _ = run
    (given,) = found.inputs.dataset_inputs
    assert given.dataset.name == "digits-mlt"
    assert experiment.dataset_digest.startswith(given.dataset.digest)
    assert json.loads(given.dataset.source)["sha256"] == experiment.dataset_digest
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]


def test_the_logged_scores_follow_from_the_stored_logits(trained, run, data_root, tmp_path):
    store, _ = trained
    found, _, _ = run
    for name in ("test_scores.npz", "per_class.json"):
        store.client.download_artifacts(found.info.run_id, name, str(tmp_path))
    with np.load(tmp_path / "test_scores.npz", allow_pickle=False) as arrays:
        scores, ids, classes = (arrays[name] for name in ("scores", "ids", "classes"))
    per_class = json.loads((tmp_path / "per_class.json").read_text())
    dataset = load_dataset("digits-mlt", data_root=data_root)
    labels, counts = dataset.split("test").labels, dataset.split("train").labels.sum(axis=0)
    assert scores.dtype == np.float32
    assert ids.tolist() == dataset.split("test").ids.tolist()
    assert tuple(classes) == dataset.classes
    precision = np.array([average_precision_score(labels[:, c], scores[:, c]) for c in range(20)])
    members = {"total": counts > 0, "head": counts >= 100, "tail": counts < 20}
    members["medium"] = ~members["head"] & ~members["tail"]
    for name, mask in members.items():
        assert found.data.metrics[f"test/{name}"] == pytest.approx(precision[mask].mean(), abs=1e-12)
    assert list(per_class["average_precision"]["test"].values()) == pytest.approx(precision, abs=1e-12)


def test_what_is_finished_is_neither_trained_nor_uploaded_again(store, data_root, settings):
    plan = make_plan(data_root, ["erm"])
    run_plan(plan, store, settings)
    before, folder = contents(store), store.runs / plan.experiments[0].experiment.id
    files = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    again = run_plan(make_plan(data_root, ["erm"]), store, settings)
    assert (again.skipped, again.trained) == (list(plan.experiments), [])
    assert contents(store) == before
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == files
    (run,) = store.runs_of()
    assert [upload(store, plan.experiments[0], plan.name) for _ in range(2)] == [run.info.run_id] * 2
    assert contents(store) == before

    store.client.set_terminated(run.info.run_id, "RUNNING")  # an upload that was cut short
    assert run_plan(plan, store, settings).trained == []
    assert contents(store) == before


def test_finished_runs_reach_another_store_without_training(store, data_root, settings, empty_database, tmp_path):
    plan = make_plan(data_root, ["erm"])
    run_plan(plan, store, settings)
    shutil.copy(empty_database, tmp_path / "other.db")
    other = Store(root=store.root, tracking_uri=f"sqlite:///{tmp_path / 'other.db'}")
    journal = (store.runs / plan.experiments[0].experiment.id / "journal.jsonl").read_text()
    summary = run_plan(plan, other, settings)
    assert (summary.trained, summary.not_uploaded) == ([], [])
    assert list(other.finished("digits-mlt")) == [plan.experiments[0].experiment.id]
    assert (store.runs / plan.experiments[0].experiment.id / "journal.jsonl").read_text() == journal
    (here,), (there,) = store.runs_of(), other.runs_of()
    assert here.data.metrics == there.data.metrics


class BreaksAfter:
    """An executor under which the database is gone once `number` jobs have been uploaded."""

    def __init__(self, database, number):
        self.database, self.number = database, number

    def run(self, jobs):
        for i, job in enumerate(jobs):
            if i == self.number:
                with sqlite3.connect(self.database) as connection:
                    ended = "SELECT count(*) FROM runs WHERE name LIKE '%seed 0' AND end_time > 0"
                    while connection.execute(ended).fetchone()[0] < self.number:
                        time.sleep(0.05)
                    for table in ("metrics", "tags", "params", "runs"):
                        connection.execute(f"ALTER TABLE {table} RENAME TO gone_{table}")
            yield from InProcess().run([job])


@pytest.mark.parametrize("number", [0, 1])
def test_a_store_that_goes_away_costs_nothing(number, store, data_root, settings):
    plan, settings = make_plan(data_root, ["erm", "focal"]), replace(settings, cohort=False)
    summary = run_plan(plan, store, settings, executor=BreaksAfter(store.root / "mlflow.db", number))
    assert summary.trained == list(plan.experiments)
    assert [planned for planned, _ in summary.not_uploaded] == list(plan.experiments[number:])
    assert all(read_journal(store.runs / p.experiment.id)[-1].event == "finished" for p in plan.experiments)

    with sqlite3.connect(store.root / "mlflow.db") as connection:
        for table in ("metrics", "tags", "params", "runs"):
            connection.execute(f"ALTER TABLE gone_{table} RENAME TO {table}")
    again = run_plan(plan, open_store(store.root), settings)
    assert (again.trained, again.not_uploaded) == ([], [])
    assert len(store.finished("digits-mlt")) == 2
