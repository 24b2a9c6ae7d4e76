import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from mltbench.benchmark.tracking.store import TAG
from mltbench.benchmark.training.metrics import SCORE_NAMES
from mltbench.errors import InputError
from mltbench.reports.results.bootstrap import bootstrap_runs, resample_weights
from mltbench.reports.results.provenance import configuration_records
from mltbench.reports.results.runs import load_per_class, load_runs
from mltbench.reports.tables.build import build_table, pairs_frame
from sklearn.metrics import average_precision_score


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


FIVE_LINES = """
import sys
from mltbench import reports
runs, per_class = reports.load_runs(sys.argv[1]), reports.load_per_class(sys.argv[1])
table = reports.build_table(runs, 1, "tiny", per_class=per_class, recipe="digits")
print(table._repr_markdown_())
print(len(reports.step_wise(per_class.assign(overrides=""), steps=("erm", "rs"))))
"""


def test_five_lines_in_a_notebook(trained, dataset):
    command = [sys.executable, "-W", "error::UserWarning", "-c", FIVE_LINES, str(trained.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "| ERM (" in done.stdout
    assert done.stdout.splitlines()[-1] == str(len(dataset.classes))


def test_a_bootstrap_is_the_scores_scored_again_and_is_kept(trained):
    runs, per_class = load_runs(trained.root), load_per_class(trained.root)
    found = bootstrap_runs(trained, runs, per_class, resamples=5)
    weights = resample_weights(18, 5)
    groups = per_class.drop_duplicates("class_name").group.tolist()
    for run in runs.itertuples():
        with np.load(trained.runs / run.experiment_id / "test_scores.npz") as stored:
            scores, labels = stored["scores"], stored["labels"]
        for i, counts in enumerate(weights):
            copies = np.repeat(np.arange(18), counts)
            aps = [
                average_precision_score(labels[copies, c], scores[copies, c]) if labels[copies, c].any() else np.nan
                for c in range(labels.shape[1])
            ]
            assert found[run.experiment_id]["total"][i] == pytest.approx(100 * np.nanmean(aps))
            tail = [ap for ap, group in zip(aps, groups, strict=True) if group == "tail"]
            assert found[run.experiment_id]["tail"][i] == pytest.approx(100 * np.nanmean(tail))
    for file in trained.root.rglob("*-5*.npz"):  # as a killed process leaves it
        file.write_bytes(file.read_bytes()[:40])
    again = bootstrap_runs(trained, runs, per_class, resamples=5)
    for file in trained.root.rglob("test_scores.npz"):
        file.unlink()
    kept = bootstrap_runs(trained, runs, per_class, resamples=5)
    assert all((again[name]["total"] == found[name]["total"]).all() for name in found)
    assert all((kept[name]["total"] == found[name]["total"]).all() for name in found)
    assert bootstrap_runs(trained, runs, per_class, resamples=6) == {}


@pytest.mark.parametrize("name", ["per_class.json", "experiment.json", "test_scores.npz"])
def test_a_damaged_artifact_is_named(trained, name):
    runs, per_class = load_runs(trained.root), load_per_class(trained.root)
    for file in trained.root.rglob(name):
        content = bytearray(file.read_bytes())
        content[len(content) // 4] ^= 128 if file.suffix == ".json" else 1
        file.write_bytes(content)
    readers = {
        "per_class.json": lambda: load_per_class(trained.root),
        "experiment.json": lambda: configuration_records(trained, runs),
        "test_scores.npz": lambda: bootstrap_runs(trained, runs, per_class, resamples=5),
    }
    with pytest.raises(InputError, match=rf"{name} cannot be read .*; restore it, or delete its run"):
        readers[name]()


def test_pairs_over_images_average_shared_seeds_in_each_resample(small_runs):
    table = build_table(small_runs, 1, "digits-mlt")
    generator = np.random.RandomState(0)
    resampled = {name: {"total": generator.normal(50, 3, 400)} for row in table.rows for name in row.experiments}
    pairs = pairs_frame(table, small_runs, resampled)
    (pair,) = pairs[(pairs.group == "total") & (pairs["first"] == "ERM") & (pairs["second"] == "DB")].itertuples()
    erm, db = ([resampled[f"{name}-{seed}".ljust(16, "0")]["total"] for seed in (0, 1)] for name in ("erm", "db"))
    expected = np.percentile((erm[0] - db[0] + erm[1] - db[1]) / 2, [2.5, 97.5])
    assert (pair.images_low, pair.images_high) == pytest.approx(tuple(expected))
    assert pairs[pairs.group == "tail"].images_low.isna().all()


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
