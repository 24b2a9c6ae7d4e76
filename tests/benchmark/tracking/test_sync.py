"""Run folders and MLflow disagree after a crash; `mltbench sync` finds it and makes them agree."""

import json
import shutil
from dataclasses import replace

import pytest
from mltbench.benchmark.runs.folder import RunFolder
from mltbench.benchmark.runs.journal import Journal
from mltbench.benchmark.tracking.store import open_store
from mltbench.benchmark.tracking.sync import agree, find
from plans import contents


def kinds(store):
    return sorted(finding.kind for finding in find(store))


def make_run(store, kind, **tags):
    tags = {"kind": kind, "origin": store.origin, **tags}
    tags = {f"mltbench.{name}": value for name, value in tags.items()}
    return store.client.create_run(store.experiment("tiny"), run_name=kind, tags=tags).info.run_id


def test_sync_uploads_a_run_as_it_was_uploaded_first_and_once(finished, store, empty_database, call, own_folder):
    whole = contents(store)
    assert find(store) == []
    shutil.copy(empty_database, store.root / "mlflow.db")
    for words, shown in [((), "uploaded 1"), (("--all",), "uploaded 1"), ((), "run folders and MLflow agree")]:
        status, printed, _ = call("sync", "--out", store.root, *words)
        assert (status, shown in printed) == (0, True), printed
        assert contents(open_store(store.root)) == whole


def test_sync_finds_and_mends_what_a_crash_leaves(finished, store, call, own_folder):
    (run,) = store.runs_of()
    whole = contents(store)
    made = {"start_time": run.info.start_time, "tags": dict(run.data.tags)}
    twin = store.client.create_run(run.info.experiment_id, **made).info.run_id
    store.client.set_terminated(run.info.run_id, "RUNNING")
    orphan = make_run(store, "experiment", experiment_id="x")
    broken = store.runs / "0123456789abcdef"
    broken.mkdir()
    Journal(broken).append("start")
    (store.runs / "empty").mkdir()
    expected = ["interrupted", "left open", "not in MLflow", "there twice", "unreadable"]
    assert kinds(store) == expected

    status, shown, _ = call("sync", "--out", store.root, "--dry-run")
    assert (status, all(kind in shown for kind in expected)) == (0, True)
    assert kinds(store) == expected
    status, shown, _ = call("sync", "--out", store.root)
    assert (status, "uploaded 1, closed 1, deleted 1; failed 0, left 2 as they are" in shown) == (0, True), shown
    assert kinds(store) == ["interrupted", "unreadable"]
    assert store.client.get_run(orphan).info.status == "KILLED"
    assert {store.client.get_run(name).info.lifecycle_stage for name in (run.info.run_id, twin)} == {
        "active",
        "deleted",
    }
    assert [found for found in contents(store) if found[0] != "experiment"] == whole


def test_what_cannot_be_mended_is_said_and_fails(finished, store, empty_database, call, own_folder):
    shutil.copy(empty_database, store.root / "mlflow.db")
    (store.runs / finished / "experiment.json").write_text("{}")
    status, shown, _ = call("sync", "--out", store.root)
    assert status == 1
    assert f"not done {finished}" in shown
    assert "failed 1" in shown


@pytest.fixture
def trial(finished, store):
    """The run as a trial of two studies would leave it, pruned; gives its folder."""
    folder = store.folders("trial") / finished
    folder.parent.mkdir()
    shutil.move(store.runs / finished, folder)
    Journal(folder).append("stopped", step=1, reason="pruned")
    store.client.delete_run(store.runs_of()[0].info.run_id)
    return folder


def test_trials_are_uploaded_with_their_study_and_without_their_weights(trial, store):
    assert find(store) == [], "a trial of an older version is left to its study"
    planned = read_trial(trial, study="mine", trial="erm/3")
    RunFolder(trial).write_labels(planned, "study mine")
    assert kinds(store) == ["not in MLflow"]
    assert [reason for _, reason in agree(store, find(store))] == [""]
    assert find(store) == []
    assert store.runs_of() == []
    (run,) = store.runs_of(kind="trial")
    tags = {"study": "mine", "trial": "erm/3", "plan": "study mine", "state": "stopped"}
    assert {name: run.data.tags[f"mltbench.{name}"] for name in tags} == tags
    assert run.info.status == "KILLED"
    names = {file.path for file in store.client.list_artifacts(run.info.run_id)}
    assert names == {"experiment.json", "provenance.json", "per_class.json", "journal.jsonl"}
    RunFolder(trial).write_labels(read_trial(trial, study="other", trial="erm/0"), "study other")
    assert kinds(store) == ["not in MLflow"], "another study has a run of its own"


def read_trial(folder, **tags):
    return replace(RunFolder(folder).planned()[0], tags=tags)


def test_trials_and_studies_that_were_left_open_are_closed(finished, store):
    study = make_run(store, "study")
    first, twin = make_run(store, "trial", attempt="a/1"), make_run(store, "trial", attempt="a/1")
    orphan = make_run(store, "trial", attempt="b/1")
    store.client.set_terminated(first)
    with RunFolder(store.folders("trial") / "0123456789abcdef").hold():
        assert study not in {finding.name for finding in find(store)}, "another process works on it"
    shutil.rmtree(store.folders("trial"))
    found = find(store)
    expected = [("left open", study), ("left open", orphan), ("there twice", twin)]
    assert sorted((finding.kind, finding.name) for finding in found) == sorted(expected)
    assert [reason for _, reason in agree(store, found)] == [""] * 3
    assert find(store) == []


def test_what_another_machine_has_open_in_a_shared_store_is_left_to_it(store, tmp_path):
    shared = open_store(tmp_path / "here", store.tracking_uri)
    made = {"experiment": {"experiment_id": "x"}, "study": {}}
    for kind, tags in made.items():
        make_run(shared, kind, origin="elsewhere:/results", **tags)
    ours = {("left open", make_run(shared, kind, **tags)) for kind, tags in made.items()}
    assert {(finding.kind, finding.name) for finding in find(shared)} == ours


def test_what_a_results_folder_had_open_before_it_was_moved_is_closed(store):
    left = make_run(store, "experiment", origin="elsewhere:/results", experiment_id="x")
    assert [(finding.kind, finding.name) for finding in find(store)] == [("left open", left)]


def test_a_run_that_is_trained_again_leaves_no_open_run_behind(finished, store):
    """Its first upload was cut short, and its folder begun anew."""
    (run,) = store.runs_of()
    store.client.set_terminated(run.info.run_id, "RUNNING")
    folder = store.runs / finished
    (folder / "journal.jsonl").unlink()
    Journal(folder).append("start")
    with RunFolder(folder).hold():
        assert find(store) == []
    Journal(folder).append("failed", reason="of its own")
    for _ in range(2):
        assert all(reason == "" for _, reason in agree(store, find(store)))
    assert kinds(store) == []
    assert sorted(run.info.status for run in store.runs_of()) == ["FAILED", "KILLED"]


def test_a_run_says_what_it_was_made_with(finished, store):
    (run,) = store.runs_of()
    written = json.loads((store.runs / finished / "provenance.json").read_text())
    names = {"mltbench", "commit", "dirty", "source_digest", "lock_digest", "command", "system", "device"}
    names |= {"device_name", "threads"}
    assert names <= written.keys()
    assert all(run.data.tags[f"mltbench.provenance.{name}"] == written[name] for name in names - {"command"})
    deciding = json.loads((store.runs / finished / "experiment.json").read_text())["deciding"]
    for name in ("dataset_digest", "weights_digest", "seed"):
        assert run.data.tags[f"mltbench.{name}"] == str(deciding[name])
