"""A results root that the code of November 2026 wrote: a finished run, an interrupted cohort, a study of three trials.

Its MLflow store has parent runs, its study is in Optuna's journal file. `frozen/resumed.json` has the digests that the
cohort ended with when nothing interrupted it.
"""

import json
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import frozen_truth
import pytest
from mltbench.studies.tuning import definition
from plans import TINY

FROZEN = Path(__file__).parent / "frozen"
SAME = ["--override", "recipe.neck_width=8", "--override", "recipe.image_size=16", "--override", "recipe.batch_size=6"]
SAME += ["--plugin", "tiny.py", "--dataset", "tiny", "--recipe", "digits-smoke", "--device", "cpu", "--workers", "1"]
COHORT = ["--method", "db-focal", "--method", "db", "--weights", "thin.pt", "--override", "recipe.resampled.epochs=60"]


@pytest.fixture
def before(own_folder, dataset, closed_studies, tmp_path):
    with tarfile.open(FROZEN / "before.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    with closing(sqlite3.connect(tmp_path / "before" / "mlflow.db")) as database, database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("tags", "value")):
            database.execute(f"UPDATE {table} SET {column} = replace({column}, '/before', ?)", [f"{tmp_path}/before"])
    (tmp_path / "before" / "thin.pt").rename(tmp_path / "thin.pt")
    (tmp_path / "tiny.py").write_text(TINY)
    return tmp_path / "before"


def states(call, root):
    status, text, _ = call("status", "--out", root, "--json")
    assert status == 0
    return {run["method"].split()[0]: (run["state"], run["epoch"]) for run in json.loads(text)}


def test_an_interrupted_cohort_resumes_to_the_bits_of_the_code_that_began_it(before, call):
    assert states(call, before) == {"DB": ("interrupted", 3), "DB-Focal": ("interrupted", 2), "ERM": ("finished", 2)}
    status, _, errors = call("run", *COHORT, *SAME, "--out", before)
    assert status == 0, errors
    assert set(states(call, before).values()) == {("finished", 60), ("finished", 2)}
    recorded, now = json.loads((FROZEN / "resumed.json").read_text()), frozen_truth.experiments(before)
    for name, digests in recorded["experiments"].items():
        # Each was at a step of its own, the later one with its checkpoint before that.
        journal = (before / "runs" / now[name]["tags"]["experiment_id"] / "journal.jsonl").read_text()
        resumed = [entry for entry in map(json.loads, journal.splitlines()) if entry["event"] == "resumed"]
        assert [entry["details"]["steps"] for entry in resumed] == [6]
        if recorded["numerics"] == frozen_truth.numerics():
            assert {key: now[name][key] for key in digests} == digests


def test_a_store_with_parent_runs_is_listed_and_reported(before, call):
    with closing(sqlite3.connect(before / "mlflow.db")) as database, database:
        # As a killed command left it: its parent run was never closed.
        database.execute("UPDATE runs SET status = 'RUNNING', end_time = NULL WHERE name = 'erm on tiny'")
    listed = json.loads(call("runs", "list", "--out", before, "--json")[1])
    assert [(run["method"].split()[0], run["state"]) for run in listed] == [("erm", "finished")]
    assert call("sync", "--out", before)[0] == 0
    assert call("report", "--no-figures", "--out", before)[0] == 0
    assert "48.1" in (before / "report" / "index.html").read_text()


def test_a_study_in_a_journal_file_is_shown_and_continued(before, call, monkeypatch):
    status, shown, errors = call("study", "show", "tune-tiny", "--out", before)
    assert status == 0, errors
    assert [score in shown for score in ("44.75", "43.70", "43.91")] == [True] * 3
    more = ["study", "tune", "--method", "erm", "--trials", 4, *SAME, "--out", before]
    status, _, errors = call(*more)
    assert (status, "learning_rate.low was 0.04, now is 0.01" in errors) == (2, True)
    # A study has one range to the end: that of now begins lower.
    monkeypatch.setattr(definition, "LOWEST_RATE", 1 / 5)
    status, printed, errors = call(*more)
    assert status == 0, errors
    assert [line.split()[3] for line in printed.splitlines() if line.startswith("done")] == ["3"]
    (study,) = frozen_truth.studies(before).values()
    assert (len(study["trials"]), len(study["winners"])) == (4, 1)
