import json

import numpy as np
import pytest
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.plan import build_plan
from mltbench.benchmark.session import carry_out
from mltbench.benchmark.store import TAG
from mltbench.reports.per_class import load_per_class
from mltbench.reports.results import GROUPS, load_runs
from sklearn.metrics import average_precision_score

QUICK = ("recipe.plain.epochs=1", "recipe.resampled.epochs=1", "recipe.batch_size=8")


@pytest.fixture
def trained(dataset, store, surroundings):
    plan = build_plan(dataset, ["erm", "rs"], seeds=[0], overrides=QUICK, recipe="digits")
    assert not carry_out(plan, store, InProcess(), surroundings).failed
    return store


def test_runs_tell_test_and_validation_in_percent_and_how_they_were_made(trained):
    runs = load_runs(trained.root)
    assert list(runs.method) == ["erm", "rs"]
    for run, (_, row) in zip(trained.runs_of(), runs.iterrows(), strict=True):
        for group in GROUPS:
            for column, metric in ((group, f"test/{group}"), (f"validation_{group}", f"validation/{group}")):
                expected = run.data.metrics.get(metric, float("nan"))
                assert row[column] == pytest.approx(100 * expected, nan_ok=True)
        assert json.loads(row.settings) == run.data.params
        assert json.loads(row.provenance)["threads"] == "1"
        assert row.command == run.data.tags[f"{TAG}command"]


def test_trials_are_another_kind_and_are_never_mixed_with_experiments(trained):
    first = trained.runs_of()[0]
    tags = {"kind": "trial", "study": "tune-db", "trial": "4", "parameters": '{"method.mu": 0.2}'}
    for key, value in tags.items():
        trained.client.set_tag(first.info.run_id, f"{TAG}{key}", value)
    assert list(load_runs(trained.root).method) == ["rs"]
    (trial,) = load_runs(trained.root, kind="trial").itertuples()
    assert (trial.method, trial.study, trial.trial) == ("erm", "tune-db", "4")
    assert json.loads(trial.parameters) == {"method.mu": 0.2}
    assert set(load_per_class(trained.root, kind="trial").method) == {"erm"}


def test_per_class_numbers_are_those_of_the_stored_scores(trained, dataset):
    per_class = load_per_class(trained.root)
    counts = dataset.split("train").labels.sum(axis=0)
    for run in load_runs(trained.root).itertuples():
        with np.load(trained.runs / run.experiment_id / "test_scores.npz") as stored:
            scores, labels = stored["scores"], stored["labels"]
        assert (labels == dataset.split("test").labels).all()
        own = per_class[(per_class.experiment_id == run.experiment_id) & (per_class.split == "test")]
        assert list(own.class_name) == list(dataset.classes)
        assert own.class_size.tolist() == counts.tolist()
        for i, ap in enumerate(own.ap):
            expected = 100 * average_precision_score(labels[:, i], scores[:, i]) if labels[:, i].any() else np.nan
            assert ap == pytest.approx(expected, nan_ok=True)
        assert own.ap.mean() == pytest.approx(run.total)
        for group, values in own.groupby("group").ap:
            assert values.mean() == pytest.approx(getattr(run, group), nan_ok=True)


def test_runs_from_before_class_sizes_were_stored_ask_the_dataset(trained, dataset):
    expected = load_per_class(trained.root)
    for file in trained.root.rglob("per_class.json"):
        data = json.loads(file.read_text())
        del data["training_images_per_class"], data["training_images"]
        file.write_text(json.dumps(data))
    assert load_per_class(trained.root).equals(expected)


def test_without_artifacts_there_are_no_lines_and_no_error(trained):
    for file in trained.root.rglob("per_class.json"):
        file.unlink()
    assert load_per_class(trained.root).empty
