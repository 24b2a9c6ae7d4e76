"""Every way in which a run folder and MLflow can differ, with runs that are made up; `test_sync.py` has a database."""

import json
from types import SimpleNamespace

import pytest
from mltbench.benchmark.runs.folder import RunFolder
from mltbench.benchmark.tracking import sync
from mltbench.benchmark.tracking.store import Store
from mltbench.benchmark.tracking.sync import agree, find, lacking, not_in_mlflow, run_folders, uploads_wanted
from mltbench.errors import InputError
from plans import tiny_plan


@pytest.fixture
def runs():
    """What MLflow has, by kind."""
    return {"experiment": [], "trial": [], "study": []}


@pytest.fixture
def store(runs, monkeypatch, tmp_path):
    monkeypatch.setattr(Store, "runs_of", lambda store, dataset=None, *, kind="experiment": runs[kind])
    store = Store(root=tmp_path, tracking_uri="http://user:secret@nowhere")
    store.__dict__["client"] = Ended(runs)
    return store


class Ended:
    """A client that only ends and deletes."""

    def __init__(self, runs):
        self.runs, self.done = runs, []

    def get_run(self, name):
        return next(run for kind in self.runs.values() for run in kind if run.info.run_id == name)

    def delete_run(self, name):
        self.done.append(("deleted", name))

    def set_terminated(self, name, status):
        self.done.append((status, name))


def run_of(run_id, *, status="FINISHED", stage="active", **tags):
    info = SimpleNamespace(run_id=run_id, run_name=f"run {run_id}", status=status, lifecycle_stage=stage)
    return SimpleNamespace(info=info, data=SimpleNamespace(tags={f"mltbench.{k}": v for k, v in tags.items()}))


def folder_of(store, name, *events, kind="experiment", **labels):
    """A run folder with these events; gives the time of the first."""
    folder = RunFolder(store.folders(kind) / name)
    folder.path.mkdir(parents=True)
    for event in events:
        folder.journal.append(event)
    return folder.entries()[0].time if events else None


def found_in(store, **more):
    return sorted((finding.kind, finding.name, finding.run_kind) for finding in find(store, **more))


def test_a_folder_is_in_mlflow_if_its_attempt_ended_there_as_it_did(store, runs):
    times = {
        name: folder_of(store, name, "start", event)
        for name, event in {"a": "finished", "b": "finished", "c": "failed", "d": "stopped", "e": "finished"}.items()
    }
    runs["experiment"] += [
        run_of("1", experiment_id="a", attempt=f"a/{times['a']}"),
        run_of("2", experiment_id="b", attempt=f"b/{times['b']}", status="FAILED"),
        run_of("3", experiment_id="c", attempt=f"c/{times['c']}", status="FAILED"),
        run_of("4", experiment_id="d", attempt=f"d/{times['d'] - 1}", status="KILLED"),
        run_of("5", experiment_id="e", attempt=f"e/{times['e']}", status="RUNNING"),
    ]
    missing = [("not in MLflow", name, "experiment") for name in "bde"]
    assert found_in(store) == missing
    assert found_in(store, everything=True) == [("in MLflow", name, "experiment") for name in "ac"] + missing
    assert [folder.path for folder in not_in_mlflow(store)] == [store.runs / name for name in "bde"]


def test_what_has_not_ended_is_left_as_it_is(store):
    folder_of(store, "begun", "start", "epoch")
    folder_of(store, "empty")
    folder_of(store, "planned")
    (store.runs / "planned" / "experiment.json").write_text("{}")
    (store.runs / "a file").write_text("")
    folder_of(store, "held", "start")
    with RunFolder(store.runs / "held").hold():
        assert found_in(store) == [("interrupted", "begun", "experiment"), ("unreadable", "empty", "experiment")]
    assert [folder.name for folder in run_folders(store)] == ["begun", "empty", "held", "planned"]
    assert list(agree(store, find(store))) == []


def test_a_trial_is_its_studys(store, runs, dataset):
    (planned,) = tiny_plan().experiments
    name, tags = planned.experiment.id, {"study": "mine", "trial": "3"}
    time = folder_of(store, name, "start", "finished", kind="trial")
    assert found_in(store) == [], "without labels nobody knows whose it is"
    folder = RunFolder(store.folders("trial") / name)
    folder.announce(planned, "a plan")
    assert found_in(store) == [], "of an older version, which had no study in it"
    labels = json.loads((folder.path / "labels.json").read_text()) | {"tags": tags}
    (folder.path / "labels.json").write_text(json.dumps(labels))
    assert found_in(store) == [("not in MLflow", name, "trial")]
    assert [folder.path for folder in not_in_mlflow(store)] == [store.root / "trials" / name]
    runs["trial"].append(run_of("1", experiment_id=name, attempt=f"{name}/{time}/other/3"))
    assert found_in(store) == [("not in MLflow", name, "trial")]
    runs["trial"].append(run_of("2", experiment_id=name, attempt=f"{name}/{time}/mine/3"))
    assert found_in(store) == []


def test_of_copies_one_that_has_ended_stays_and_what_is_open_is_closed(store, runs):
    runs["experiment"] += [
        run_of("1", status="RUNNING", attempt="a/1", experiment_id="a"),
        run_of("3", attempt="a/1", experiment_id="a"),
        run_of("2", attempt="a/1", experiment_id="a"),
        run_of("4", attempt="a/2", experiment_id="a", status="RUNNING"),
        run_of("5", status="RUNNING"),
        run_of("6", status="RUNNING"),
        run_of("7", attempt="b/1", experiment_id="b", status="FAILED"),
    ]
    assert [(finding.kind, finding.name) for finding in find(store)] == [
        ("there twice", "3"), ("there twice", "1"), ("left open", "4"), ("left open", "5"), ("left open", "6")
    ]  # fmt: skip
    fixed = [(finding.name, reason) for finding, reason in agree(store, find(store))]
    assert fixed == [(name, "") for name in "31456"]
    assert store.client.done == [("deleted", "3"), ("deleted", "1"), *(("KILLED", name) for name in "456")]


def test_what_was_mended_in_the_meantime_is_left(store, runs):
    runs["experiment"] += [run_of("1", attempt="a/1"), run_of("2", attempt="a/1"), run_of("3", status="RUNNING")]
    found = find(store)
    runs["experiment"][1].info.lifecycle_stage = "deleted"
    runs["experiment"][2].info.status = "FINISHED"
    assert [reason for _, reason in agree(store, found)] == ["", ""]
    assert store.client.done == []


def test_what_is_under_way_here_or_was_begun_elsewhere_stays_open(store, runs):
    folder_of(store, "begun", "start")
    folder_of(store, "ended", "start", "finished")
    runs["experiment"] += [
        run_of("1", status="RUNNING", experiment_id="begun"),
        run_of("2", status="RUNNING", experiment_id="ended"),
        run_of("3", status="RUNNING", experiment_id="x", origin="elsewhere:/results"),
        run_of("4", status="RUNNING", experiment_id="y", origin=store.origin),
    ]
    expected = [("interrupted", "begun"), ("left open", "4"), ("not in MLflow", "ended")]
    assert [(kind, name) for kind, name, _ in found_in(store)] == expected
    store.__dict__["is_own"] = True
    assert ("left open", "3", "experiment") in found_in(store), "a database that was moved with its folder"


def test_a_study_is_closed_when_no_trial_runs_here(store, runs):
    runs["study"] += [run_of("s", status="RUNNING"), run_of("t")]
    folder_of(store, "a", "start", kind="trial")
    assert ("left open", "s", "experiment") in found_in(store)
    with RunFolder(store.root / "trials" / "a").hold():
        assert found_in(store) == []


@pytest.mark.parametrize(("error", "reason"), [(InputError("no\nmore"), "no"), (OSError("disk"), "disk")])
def test_what_cannot_be_uploaded_is_said_and_the_rest_is_done(error, reason, store, runs, dataset, monkeypatch):
    (planned,) = tiny_plan().experiments
    folder_of(store, planned.experiment.id, "start", "finished")
    RunFolder(store.runs / planned.experiment.id).announce(planned, "a plan")
    runs["experiment"].append(run_of("1", status="RUNNING"))
    asked, errors = [], [error]

    def upload(store, planned, plan, *, kind):
        asked.append((planned.experiment.id, plan, kind))
        if errors:
            raise errors.pop()

    monkeypatch.setattr(sync, "upload", upload)
    assert [why for _, why in agree(store, find(store))] == [reason, ""]
    assert [why for _, why in agree(store, find(store))] == ["", ""]
    assert asked == [(planned.experiment.id, "a plan", "experiment")] * 2


def test_what_mlflow_lacks_is_counted_or_may_have_been_deleted(store, monkeypatch):
    for name, event in {"a": "finished", "b": "finished", "c": "failed", "d": "finished"}.items():
        folder_of(store, name, "start", event)
    monkeypatch.setattr(Store, "deleted_experiments", lambda store: {"tiny": "12"})
    command = f"mltbench sync --out {store.root} --tracking-uri 'http://user:***@nowhere'"
    assert lacking(store, there=["d"]) == [f"2 ended runs are not in MLflow: {command}"]
    assert uploads_wanted(1, store) == f"1 ended run is not in MLflow: {command}"
    (restored,) = lacking(store, there=["a", "b", "d"])
    assert "experiment mltbench/tiny was deleted" in restored
    assert "MLFLOW_TRACKING_URI='http://user:***@nowhere' mlflow experiments restore --experiment-id 12" in restored
