import json
import shutil

import numpy as np
import pytest
import torch
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.executors.run_plan import Surroundings, carry_out
from mltbench.benchmark.experiments.experiment import Experiment
from mltbench.benchmark.experiments.plan import build_plan
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.tracking.store import open_store
from mltbench.benchmark.training.execution import Execution
from mltbench.benchmark.training.trainer import Trainer
from mltbench.datasets.registry import load_dataset
from sklearn.metrics import average_precision_score

METHODS = ("erm", "db-focal")
GROUPS = ("head", "medium", "tail")
QUICK = ("recipe.plain.epochs=1", "recipe.resampled.epochs=2")


@pytest.fixture(scope="session")
def plan(data_root):
    return build_plan(load_dataset("digits-mlt", data_root=data_root), METHODS, seeds=[0], overrides=QUICK)


@pytest.fixture(scope="session")
def surroundings(data_root):
    return Surroundings(data_root=data_root, execution=Execution(evaluate_every=1))


@pytest.fixture(scope="session")
def finished(tmp_path_factory, empty_database, plan, surroundings):
    """A store in which the plan was carried out, with the summary of that."""
    root = tmp_path_factory.mktemp("results")
    shutil.copy(empty_database, root)
    store = open_store(root)
    return store, carry_out(plan, store, InProcess(), surroundings)


@pytest.fixture(params=METHODS)
def run(request, finished, plan):
    """One run in MLflow with its experiment and its folder."""
    store, _ = finished
    experiment = next(p.experiment for p in plan.experiments if p.experiment.method.name == request.param)
    (found,) = (r for r in store.runs_of("digits-mlt") if r.data.tags["mltbench.experiment_id"] == experiment.id)
    return found, experiment, store.runs / experiment.id


def test_carrying_out_a_plan_trains_it(finished, plan):
    _, summary = finished
    assert (summary.trained, summary.failed, summary.skipped, summary.not_uploaded) == (
        list(plan.experiments),
        [],
        [],
        [],
    )


def test_runs_are_children_of_their_plan(finished, run):
    store, _ = finished
    (parent,) = store.runs_of(kind="plan")
    child, _, folder = run
    assert parent.info.status == child.info.status == "FINISHED"
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    entries = read_journal(folder)
    assert (child.info.start_time, child.info.end_time) == (entries[0].time, entries[-1].time)


def test_parameters_are_all_that_decides(run):
    child, experiment, _ = run
    expected = {"method": experiment.method.name, "dataset": "digits-mlt", "seed": "0", "recipe.learning_rate": "0.2"}
    expected |= {f"method.{name}": str(value) for name, value in experiment.method.parameters.items()}
    expected |= {"recipe.schedule.epochs": str(experiment.training["schedule"]["epochs"]), "recipe.batch_size": "32"}
    expected |= {"recipe.augmentation.smallest_crop": "0.8", "backbone": "digits-resnet"}
    assert expected.items() <= child.data.params.items()


def test_metrics_have_their_steps_and_times(finished, run):
    store, _ = finished
    child, experiment, folder = run
    epochs = experiment.training["schedule"]["epochs"]
    history = {name: store.client.get_metric_history(child.info.run_id, name) for name in child.data.metrics}
    steps = {name: [point.step for point in points] for name, points in history.items()}
    for name in ("train/loss", "train/learning_rate", "validation/total", "validation/tail"):
        assert steps[name] == list(range(1, epochs + 1))
    assert all(steps[f"test/{name}"] == [epochs] for name in ("total", *GROUPS))
    assert {"cost/train_seconds", "cost/images_per_second", "cost/peak_memory_mib"} < set(steps)
    written = {(n, e.step, e.time, v) for e in read_journal(folder) for n, v in e.metrics.items()}
    assert {(p.key, p.step, p.timestamp, p.value) for points in history.values() for p in points} == written


def test_the_dataset_is_recorded_with_its_digest(run):
    child, experiment, _ = run
    (given,) = child.inputs.dataset_inputs
    assert given.dataset.name == "digits-mlt"
    assert experiment.dataset_digest.startswith(given.dataset.digest)
    assert json.loads(given.dataset.source)["sha256"] == experiment.dataset_digest
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]


def test_the_logged_scores_follow_from_the_stored_logits(finished, run, data_root, tmp_path):
    store, _ = finished
    child, _, _ = run
    for name in ("test_scores.npz", "per_class.json"):
        store.client.download_artifacts(child.info.run_id, name, str(tmp_path))
    with np.load(tmp_path / "test_scores.npz", allow_pickle=False) as arrays:
        scores, ids, classes = (arrays[name] for name in ("scores", "ids", "classes"))
    per_class = json.loads((tmp_path / "per_class.json").read_text())
    dataset = load_dataset("digits-mlt", data_root=data_root)
    labels, counts = dataset.split("test").labels, dataset.split("train").labels.sum(axis=0)
    assert scores.dtype == np.float32
    assert ids.tolist() == dataset.split("test").ids.tolist()
    assert tuple(classes) == dataset.classes
    marks = np.array([average_precision_score(labels[:, c], scores[:, c]) for c in range(20)])
    members = {
        "total": counts > 0,
        "head": counts >= 100,
        "medium": (counts >= 20) & (counts < 100),
        "tail": counts < 20,
    }
    for name, mask in members.items():
        assert child.data.metrics[f"test/{name}"] == pytest.approx(marks[mask].mean(), abs=1e-12)
    assert list(per_class["average_precision"]["test"].values()) == pytest.approx(marks, abs=1e-12)


def test_the_experiment_and_its_weights_give_the_scores_again(run, data_root):
    _, experiment, folder = run
    again = Experiment.from_json((folder / "experiment.json").read_text())
    assert again.id == experiment.id
    torch.set_num_threads(1)
    trainer = Trainer(again, load_dataset("digits-mlt", data_root=data_root), Execution())
    trainer.network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    _, scores = trainer.evaluate("test")
    with np.load(folder / "test_scores.npz", allow_pickle=False) as arrays:
        assert np.array_equal(scores, arrays["scores"])
