"""Runs and classes as they are read from MLflow: every number of these toys is another one."""

import json
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_up_runs import ListedStore, frame_of, mlflow_run, record
from mlflow.exceptions import MlflowException
from mltbench.errors import InputError
from mltbench.reports.results import runs
from mltbench.reports.results.runs import (
    load_per_class,
    load_runs,
    local_artifact,
    of_one_dataset,
    per_class_frame,
    read_arrays,
    read_json,
    runs_frame,
)

# As an experiment may have been tried: experiment, state, start.
ATTEMPTS = {
    "finished once": [("a", "failed", 3), ("a", "finished", 10), ("a", "failed", 40), ("a", "running", 45)],
    "finished twice": [("b", "finished", 20), ("b", "finished", 35), ("b", "stopped", 38)],
    "never finished": [("c", "failed", 30), ("c", "stopped", 50), ("c", "failed", 5)],
    "tried once": [("d", "interrupted", 1)],
}


@pytest.fixture
def store(tmp_path):
    """Its MLflow is a server that fails every question."""

    def holding(*runs):
        store = ListedStore(root=tmp_path, tracking_uri="http://mlflow.invalid", listed=runs)
        vars(store)["client"] = SimpleNamespace()
        return store

    return holding


@pytest.mark.parametrize("seed", range(3))
def test_an_experiment_has_the_last_of_its_finished_attempts_else_its_last_oldest_first(seed, store):
    tried = [
        mlflow_run({"experiment_id": name, "state": state, "seed": "0"}, run_id=f"{name}{start}", started=start)
        for attempts in ATTEMPTS.values()
        for name, state, start in attempts
    ]
    random.Random(seed).shuffle(tried)
    frame = runs_frame(store(*tried))
    assert frame.run_id.tolist() == ["d1", "a10", "b35", "c50"]
    assert frame.state.tolist() == ["interrupted", "finished", "finished", "stopped"]
    assert frame.index.tolist() == [0, 1, 2, 3]


def test_a_trial_has_a_line_in_every_study_and_every_number_of_it_that_asked_for_it(store):
    trials = [("s", "1", 4), ("s", "2", 3), ("t", "1", 2), ("s", "1", 1)]
    listed = [
        mlflow_run({"kind": "trial", "experiment_id": "x", "study": study, "trial": trial}, started=start)
        for study, trial, start in trials
    ]
    frame = runs_frame(store(*listed, mlflow_run({"experiment_id": "x"})), kind="trial")
    assert list(zip(frame.study, frame.trial, frame.started, strict=True)) == [
        ("t", "1", 2),
        ("s", "2", 3),
        ("s", "1", 4),
    ]


def test_results_are_read_from_the_store_that_is_named_and_nothing_is_made(store, tmp_path, monkeypatch):
    asked, labels = [], {"experiment_id": "x", "state": "finished", "dataset_digest": "d", "study": "s"}
    held = store(mlflow_run(labels, run_id="one"), mlflow_run(labels | {"kind": "trial"}, run_id="of a study"))
    monkeypatch.setattr(runs, "open_store", lambda *place, **how: asked.append((*place, how)) or held)
    monkeypatch.setenv("MLTBENCH_HOME", str(tmp_path / "home"))
    assert load_runs("here", tracking_uri="uri").run_id.tolist() == ["one"]
    assert load_runs(kind="trial").run_id.tolist() == ["of a study"]
    (tmp_path / "report-cache" / "of a study").mkdir(parents=True)
    file = tmp_path / "report-cache" / "of a study" / "per_class.json"
    file.write_text('{"average_precision": {"test": {"a": 0.5}}}')
    held.client.list_artifacts = lambda run_id: []
    monkeypatch.setattr(runs, "load_dataset", _no_dataset)
    assert load_per_class(tmp_path, kind="trial").ap.tolist() == [50]
    assert load_per_class(tmp_path).empty
    places = [Path("here"), tmp_path / "home", tmp_path, tmp_path]
    assert asked == [
        (place, uri, {"create": False}) for place, uri in zip(places, ["uri", None, None, None], strict=True)
    ]


def test_a_line_has_every_number_in_its_own_column(store):
    metrics = {f"{split}/{name}": (10 * i + j) / 100 for i, split in enumerate(("test", "validation", "train"), start=1)
               for j, name in enumerate(("total", "head", "medium", "tail"), start=1)}  # fmt: skip
    del metrics["validation/tail"]
    tags = {
        "experiment_id": "e", "configuration_id": "c", "dataset": "d", "dataset_digest": "dd", "method": "m",
        "title": "T", "overrides": "o=1", "recipe": "r", "backbone": "b", "numerics_version": "3", "seed": "7",
        "state": "failed", "reason": "why", "study": "s", "trial": "4", "parameters": "{}", "role": "tuned",
        "command": "mltbench run", "provenance.torch": "2", "provenance.commit": "abc", "other": "x",
    }  # fmt: skip
    costs = {"cost/train_seconds": 21.0, "cost/images_per_second": 42.0, "cost/other": 1.0}
    one = mlflow_run(
        tags, metrics | costs, params={"mu": "0.3", "beta": "10"}, run_id="rr", started=99, artifact_uri="file:///a",
        experiment="6",
    )  # fmt: skip
    bare = mlflow_run({"experiment_id": "bare"}, {}, started=100)
    line, empty = runs_frame(store(one, bare)).to_dict("records")
    scores = {"total": 11, "head": 12, "medium": 13, "tail": 14, "validation_total": 21, "validation_head": 22,
              "validation_medium": 23}  # fmt: skip
    assert {name: line.pop(name) for name in scores} == pytest.approx(scores)
    assert np.isnan(line.pop("validation_tail"))
    labels = {name: value for name, value in tags.items() if "provenance" not in name and name != "other"}
    assert line == labels | {
        "seed": 7, "run_id": "rr", "started": 99, "train_seconds": 21, "images_per_second": 42,
        "settings": '{"beta": "10", "mu": "0.3"}', "provenance": '{"commit": "abc", "torch": "2"}',
        "artifact_uri": "file:///a", "mlflow_experiment": "6",
    }  # fmt: skip
    assert (empty["seed"], empty["method"], empty["settings"], empty["provenance"]) == (-1, "", "{}", "{}")
    assert all(np.isnan(empty[name]) for name in (*scores, "train_seconds"))
    assert set(runs_frame(store())) == set(line) | set(scores) | {"validation_tail"}


def _no_dataset(name):
    raise InputError(name)


@pytest.fixture
def written(tmp_path):
    """Write `per_class.json` of a finished run; gives its line."""

    def write(name, digest, average_precision, sizes=None, *, method="erm", seed=0, **changes):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        held = {"average_precision": average_precision}
        held |= {} if sizes is None else {"training_images_per_class": sizes, "training_images": 500}
        (folder / "per_class.json").write_text(json.dumps(held))
        return record(method, seed, **{
            "experiment_id": name, "dataset": f"set {digest}", "dataset_digest": digest,
            "artifact_uri": (tmp_path / "away").as_uri(), **changes,
        })  # fmt: skip

    return write


def test_classes_are_read_split_by_split_with_the_sizes_of_their_own_dataset(store, written):
    sizes = {"p": 19, "q": 100, "r": 99, "s": 20}
    records = [
        written("old", "1", {"test": {"q": 0.5}}),
        written("new", "1", {"test": {"p": 0.1, "q": 0.2, "r": None, "s": 0.4}, "validation": {"p": 0.6}}, sizes,
                method="rs", overrides="mu=1", recipe="short", seed=3),
        written("other", "2", {"test": {"q": 0.7, "new": 0.8}}, {"q": 1}),
        written("unknown", "3", {"test": {"q": 0.9}}),
        written("running", "1", {"test": {"q": 0.05}}, sizes, state="running"),
        record("db", 0, experiment_id="without a file", artifact_uri="file:///nowhere"),
    ]  # fmt: skip
    frame = per_class_frame(store(), frame_of(*records))
    erm, rs = ("erm", "ERM", "", "digits", 0), ("rs", "RS", "mu=1", "short", 3)
    expected = [
        ("old", "set 1", *erm, "test", "q", "head", 100, 50),
        ("new", "set 1", *rs, "test", "p", "tail", 19, 10),
        ("new", "set 1", *rs, "test", "q", "head", 100, 20),
        ("new", "set 1", *rs, "test", "r", "medium", 99, None),
        ("new", "set 1", *rs, "test", "s", "medium", 20, 40),
        ("new", "set 1", *rs, "validation", "p", "tail", 19, 60),
        ("other", "set 2", *erm, "test", "q", "tail", 1, 70),
        ("other", "set 2", *erm, "test", "new", "", None, 80),
        ("unknown", "set 3", *erm, "test", "q", "", None, 90),
    ]
    columns = ["experiment_id", "dataset", "method", "title", "overrides", "recipe", "seed", "split", "class_name",
               "group", "class_size", "ap"]  # fmt: skip
    wanted = pd.DataFrame(expected, columns=columns).astype({"class_size": "Int64", "ap": float})
    pd.testing.assert_frame_equal(frame, wanted)
    assert list(per_class_frame(store(), frame_of())) == columns


def test_class_sizes_of_older_runs_are_the_datasets_if_it_is_the_same_version(store, written, dataset):
    aps = {"test": {"class 0": 0.5, "class 5": 0.25}}
    same = written("same", dataset.digest, aps, dataset="tiny")
    other = written("other", "of another version", aps, dataset="tiny")
    frame = per_class_frame(store(), frame_of(same, other))
    # As the set was drawn, a first count of 11 images and a last one of 2.
    assert frame.class_size.tolist() == [11, 2, pd.NA, pd.NA]
    assert frame.group.tolist() == ["tail", "tail", "", ""]


def test_a_dataset_is_named_unless_there_is_only_one():
    one, two = record("erm", 0, dataset="one"), record("rs", 0, dataset="two")
    both = frame_of(one, two, one)
    assert of_one_dataset(both, "one").index.tolist() == [0, 2]
    assert of_one_dataset(both, "two").index.tolist() == [1]
    assert len(of_one_dataset(frame_of(one, one))) == 2
    for frame, name, says in ((both, None, "name one .* are: one, two"), (both, "three", "nothing on .* are: one, two"),
                              (frame_of(), None, "name one .*none"), (frame_of(one), "two", "nothing on")):  # fmt: skip
        with pytest.raises(InputError, match=says):
            of_one_dataset(frame, name)


def test_a_file_of_a_run_is_looked_for_where_mlflow_says_then_in_its_folder_then_in_the_cache(store, tmp_path):
    places = [tmp_path / "artifacts", tmp_path / "runs" / "e", tmp_path / "report-cache" / "r"]
    run = SimpleNamespace(artifact_uri=places[0].as_uri(), experiment_id="e", run_id="r")
    for place in places:
        place.mkdir(parents=True)
        (place / "file").write_text("")
    for place in places:
        assert local_artifact(store(), run, "file") == place / "file"
        (place / "file").unlink()
    # The client of this store would fail.
    assert local_artifact(store(), run, "file") is None


def test_a_file_of_a_server_is_fetched_once(store, tmp_path):
    run = SimpleNamespace(artifact_uri="mlflow-artifacts:/1", experiment_id="e", run_id="r")
    asked = []

    def download(run_id, name, folder):
        asked.append((run_id, name))
        path = tmp_path / "report-cache" / "r" / name
        assert str(path.parent) == folder
        path.write_text("fetched")
        return str(path)

    server = store()
    server.client.list_artifacts = lambda run_id: [
        SimpleNamespace(path=f"{run_id}.json"),
        SimpleNamespace(path="s.npz"),
    ]
    server.client.download_artifacts = download
    for _ in range(2):
        assert local_artifact(server, run, "s.npz").read_text() == "fetched"
    assert local_artifact(server, run, "other") is None
    assert local_artifact(server, run, "r.json").name == "r.json"
    assert asked == [("r", "s.npz"), ("r", "r.json")]

    def broken(*_):
        raise MlflowException("gone\nfar away")

    server.client.list_artifacts = broken
    with pytest.raises(InputError, match="cannot fetch other of MLflow run r: gone; is the tracking server up"):
        local_artifact(server, run, "other")


def test_damaged_files_and_those_of_another_version_are_errors(tmp_path):
    file = tmp_path / "file"
    for content in ("[1]", "{}", '{"key": 1}'):
        file.write_text(content)
        with pytest.raises(InputError, match="holds no 'key'"):
            read_json(file, "key")
    file.write_text('{"key": {"a": 1}, "more": 2}')
    assert read_json(file, "key") == {"key": {"a": 1}, "more": 2}
    file.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        read_json(file, "key")
    for objects in (np.array([{}]), np.array([1.5])):
        np.savez(tmp_path / "a.npz", a=objects)
        if objects.dtype == object:  # a pickle
            with pytest.raises(InputError, match="cannot be read"):
                read_arrays(tmp_path / "a.npz")
    assert read_arrays(tmp_path / "a.npz")["a"].tolist() == [1.5]
