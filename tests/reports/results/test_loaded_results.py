import dataclasses
import json
import re

import numpy as np
import pytest
from mltbench import reports
from mltbench.benchmark.tracking.store import TAG
from mltbench.benchmark.training.metrics import SCORE_NAMES
from mltbench.reports.results.bootstrap import (
    bootstrap_runs,
    group_means,
    resample_weights,
    weighted_average_precision,
)
from mltbench.reports.results.provenance import configuration_records
from mltbench.reports.results.runs import load_per_class, load_runs


def test_runs_tell_test_and_validation_in_percent_and_how_they_were_made(trained):
    runs = load_runs(trained.root)
    assert list(runs.method) == ["erm", "rs"]
    for run, (_, row) in zip(trained.runs_of(), runs.iterrows(), strict=True):
        for group in SCORE_NAMES:
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


def test_per_class_numbers_have_the_means_that_their_runs_have(trained, dataset):
    per_class = load_per_class(trained.root)
    sizes = dict(zip(dataset.classes, dataset.split("train").labels.sum(axis=0), strict=True))
    for run in load_runs(trained.root).itertuples():
        own = per_class[(per_class.experiment_id == run.experiment_id) & (per_class.split == "test")]
        assert dict(zip(own.class_name, own.class_size, strict=True)) == sizes
        assert own.ap.mean() == pytest.approx(run.total)
        for group, values in own.groupby("group").ap:
            assert values.mean() == pytest.approx(getattr(run, group), nan_ok=True)


def test_older_runs_without_class_sizes_ask_the_dataset_and_runs_without_artifacts_have_no_lines(trained, dataset):
    expected = load_per_class(trained.root)
    for file in trained.root.rglob("per_class.json"):
        data = json.loads(file.read_text())
        del data["training_images_per_class"], data["training_images"]
        file.write_text(json.dumps(data))
    assert load_per_class(trained.root).equals(expected)
    for file in trained.root.rglob("per_class.json"):
        file.unlink()
    assert load_per_class(trained.root).empty


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_table_and_a_figure_take_five_lines_in_a_notebook(trained, dataset):
    runs, per_class = reports.load_runs(trained.root), reports.load_per_class(trained.root)
    table = reports.build_table(runs, 1, "tiny", per_class=per_class, recipe="digits")
    assert "| ERM (" in table._repr_markdown_()
    steps = reports.step_wise(per_class.assign(overrides=""), steps=("erm", "rs"))
    assert len(steps) == len(dataset.classes)


def test_a_bootstrap_scores_what_was_stored_and_is_kept(trained, dataset):
    runs, per_class = load_runs(trained.root), load_per_class(trained.root)
    found = bootstrap_runs(trained, runs, per_class, resamples=5)
    groups = per_class.drop_duplicates("class_name").group.tolist()
    for run in runs.itertuples():
        with np.load(trained.runs / run.experiment_id / "test_scores.npz") as stored:
            assert (stored["labels"] == dataset.split("test").labels).all()
            aps = weighted_average_precision(stored["scores"], stored["labels"], resample_weights(18, 5))
        for name, values in group_means(aps, groups).items():
            assert found[run.experiment_id][name] == pytest.approx(values)
    for file in trained.root.rglob("*-5*.npz"):  # as a killed process leaves it
        file.write_bytes(file.read_bytes()[:40])
    again = bootstrap_runs(trained, runs, per_class, resamples=5)
    for file in trained.root.rglob("test_scores.npz"):
        file.unlink()
    kept = bootstrap_runs(trained, runs, per_class, resamples=5)
    assert all((again[name]["total"] == found[name]["total"]).all() for name in found)
    assert all((kept[name]["total"] == found[name]["total"]).all() for name in found)
    assert bootstrap_runs(trained, runs, per_class, resamples=6) == {}


def flipped(content):
    """With one bit changed, as a failing disk changes it."""
    place = len(content) // 4
    return content[:place] + bytes([content[place] ^ (128 if content[:1] == b"{" else 1)]) + content[place + 1 :]


ANOTHER_VERSION = "another version of mltbench has written it"
# What is wrong with which file, and what is said of it; scores come first, for results of good ones are kept.
DAMAGES = [
    ("test_scores.npz", flipped, "cannot be read .*; restore it, or delete its run"),
    ("per_class.json", flipped, "cannot be read .*; restore it, or delete its run"),
    ("per_class.json", lambda _: b"{}", ANOTHER_VERSION),
    ("experiment.json", flipped, "cannot be read .*; restore it, or delete its run"),
    ("experiment.json", lambda _: b'{"version": 9}', ANOTHER_VERSION),
]


def test_artifacts_that_are_damaged_or_of_another_version_are_named(trained, call, own_folder):
    for name, damaged, message in DAMAGES:
        kept = {file: file.read_bytes() for file in trained.root.rglob(name)}
        for file, content in kept.items():
            file.write_bytes(damaged(content))
        status, _, error = call("report", "--no-figures", "--bootstrap", 5, "--out", trained.root)
        assert (status, bool(re.search(rf"{name} .*{message}", error))) == (2, True), (name, error)
        for file, content in kept.items():
            file.write_bytes(content)


def test_records_tell_how_each_experiment_was_made(trained):
    records = configuration_records(trained, load_runs(trained.root))
    assert [record["label"].split(" ")[0] for record in records] == ["ERM", "RS"]
    for record in records:
        (experiment,) = record["experiments"]
        made = json.loads((trained.runs / experiment["id"] / "experiment.json").read_text())
        assert record["digests"]["dataset_digest"] == made["deciding"]["dataset_digest"]
        assert record["digests"]["weights_digest"] == made["deciding"]["weights_digest"]
        assert record["settings"]["recipe.batch_size"] == "8"
        assert experiment["command"].startswith(f"mltbench run --method {made['labels']['method']}")
        assert experiment["link"] is None
    run = load_runs(trained.root).iloc[0]
    page = f"https://mlflow.example/#/experiments/{run.mlflow_experiment}/runs/{run.run_id}"
    # An address with a password is not passed on.
    for uri, link in (("https://mlflow.example/", page), ("https://me:pw@mlflow.example/", None)):
        remote = dataclasses.replace(trained, tracking_uri=uri)
        assert configuration_records(remote, load_runs(trained.root))[0]["experiments"][0]["link"] == link
