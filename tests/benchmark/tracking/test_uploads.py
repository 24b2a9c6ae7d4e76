import shutil
import sqlite3
import time

import pytest
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.executors.run_plan import carry_out
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.tracking.store import Store, open_store
from mltbench.benchmark.tracking.upload import Uploader
from plans import make_plan


def contents(store):
    """Everything that uploading could change: statuses, parameters, inputs and metric points of every run."""
    found = {}
    for run in store.runs_of():
        points = {
            name: [(m.step, m.timestamp, m.value) for m in store.client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        }
        info = (run.info.status, run.info.start_time, run.info.end_time)
        found[run.info.run_id] = (info, run.data.params, run.data.tags, points, len(run.inputs.dataset_inputs))
    return found


def test_what_is_finished_is_neither_trained_nor_uploaded_again(store, data_root, surroundings):
    plan = make_plan(data_root, ["erm"])
    carry_out(plan, store, InProcess(), surroundings)
    before, folder = contents(store), store.runs / plan.experiments[0].experiment.id
    files = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    again = carry_out(make_plan(data_root, ["erm"]), store, InProcess(), surroundings)
    assert (again.skipped, again.trained) == (list(plan.experiments), [])
    assert contents(store) == before
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == files
    assert len(store.runs_of(kind="plan")) == 1

    uploader = Uploader(store, plan)
    uploader.upload(plan.experiments[0])
    uploader.upload(plan.experiments[0])
    assert contents(store) == before


def test_finished_runs_reach_another_store_without_training(store, data_root, surroundings, empty_database, tmp_path):
    plan = make_plan(data_root, ["erm"])
    carry_out(plan, store, InProcess(), surroundings)
    shutil.copy(empty_database, tmp_path / "other.db")
    other = Store(root=store.root, tracking_uri=f"sqlite:///{tmp_path / 'other.db'}")
    journal = (store.runs / plan.experiments[0].experiment.id / "journal.jsonl").read_text()
    summary = carry_out(plan, other, InProcess(), surroundings)
    assert (summary.trained, summary.not_uploaded) == ([], [])
    assert list(other.finished("digits-mlt")) == [plan.experiments[0].experiment.id]
    assert (store.runs / plan.experiments[0].experiment.id / "journal.jsonl").read_text() == journal
    (here,), (there,) = store.runs_of(), other.runs_of()
    assert here.data.metrics == there.data.metrics


def test_an_upload_that_was_cut_short_is_finished_without_a_second_run(store, data_root, surroundings):
    plan = make_plan(data_root, ["erm"])
    carry_out(plan, store, InProcess(), surroundings)
    before = contents(store)
    (run,) = store.runs_of()
    store.client.set_terminated(run.info.run_id, "RUNNING")
    summary = carry_out(plan, store, InProcess(), surroundings)
    assert summary.trained == []
    assert contents(store) == before


def test_runs_that_mlflow_has_lost_are_brought_there_again(store, data_root, surroundings, empty_database):
    plan = make_plan(data_root, ["erm"])
    carry_out(plan, store, InProcess(), surroundings)
    shutil.copy(empty_database, store.root / "mlflow.db")
    again = open_store(store.root)
    assert carry_out(plan, again, InProcess(), surroundings).trained == []
    assert list(again.finished("digits-mlt")) == [plan.experiments[0].experiment.id]


class BreaksAfter:
    """An executor under which the database is gone once `number` jobs have been brought there."""

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


@pytest.mark.parametrize("number", [0, pytest.param(1)])
def test_a_store_that_goes_away_costs_nothing(number, store, data_root, surroundings, empty_database, tmp_path):
    plan = make_plan(data_root, ["erm", "focal"])
    summary = carry_out(plan, store, BreaksAfter(store.root / "mlflow.db", number), surroundings)
    assert summary.trained == list(plan.experiments)
    assert [planned for planned, _ in summary.not_uploaded] == list(plan.experiments[number:])
    assert all(read_journal(store.runs / p.experiment.id)[-1].event == "finished" for p in plan.experiments)

    with sqlite3.connect(store.root / "mlflow.db") as connection:
        for table in ("metrics", "tags", "params", "runs"):
            connection.execute(f"ALTER TABLE gone_{table} RENAME TO {table}")
    again = carry_out(plan, open_store(store.root), InProcess(), surroundings)
    assert (again.trained, again.not_uploaded) == ([], [])
    assert len(store.finished("digits-mlt")) == 2
