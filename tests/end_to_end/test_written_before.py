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
from plans import TINY

FROZEN = Path(__file__).parent / "frozen"
SETTINGS = ("neck_width=8", "image_size=16", "batch_size=6", "resampled.epochs=60")
SAME = [word for setting in SETTINGS for word in ("--override", f"recipe.{setting}")]
SAME += ["--plugin", "tiny.py", "--weights", "thin.pt", "--dataset", "tiny", "--recipe", "digits-smoke"]
SAME += ["--device", "cpu", "--workers", "1"]


@pytest.fixture
def before(own_folder, own_registrations, tmp_path):
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
    status, _, errors = call("run", "--method", "db-focal", "--method", "db", *SAME, "--out", before)
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
    assert call("report", "--out", before)[0] == 0
    assert "48.1" in (before / "report" / "index.html").read_text()
