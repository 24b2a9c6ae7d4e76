"""`mltbench status` and `mltbench runs delete`."""

import json
import shutil

import pytest
from mltbench.benchmark.runs.folder import RunFolder
from mltbench.benchmark.runs.journal import Journal
from plans import tiny_plan


@pytest.fixture
def failed(store):
    """The folder of a failed run, of which MLflow knows nothing."""
    folder = store.runs / "0123456789abcdef"
    folder.mkdir(parents=True)
    Journal(folder).append("start")
    Journal(folder).append("failed", step=3, reason="the loss was not finite")
    return folder


def test_status_shows_states_as_table_and_json(finished, failed, store, call, own_folder):
    status, shown, _ = call("status", "--out", store.root)
    assert status == 0
    assert "1 failed, 1 finished" in shown
    rows = {row["experiment"]: row for row in json.loads(call("status", "--out", store.root, "--json")[1])}
    assert [rows[finished][key] for key in ("state", "in_mlflow", "seed")] == ["finished", "yes", 0]
    found = [rows[failed.name][key] for key in ("state", "in_mlflow", "reason")]
    assert found == ["failed", "no", "the loss was not finite"]


def test_status_filters_runs_and_refuses_unknown_names(finished, failed, store, call, own_folder):
    def shown(*words):
        status, printed, said = call("status", "--out", store.root, "--json", *words)
        assert status == 0, said
        return [row["experiment"] for row in json.loads(printed)]

    assert sorted(shown()) == sorted([finished, failed.name])
    assert shown("--state", "failed") == [failed.name]
    assert shown("--state", "finished", "--state", "running") == [finished]
    assert shown("--method", "erm", "--dataset", "tiny") == [finished]
    assert shown("--table", "1") == [finished]
    assert shown("--method", "db") == shown("--dataset", "digits-mlt") == []
    for words, said in [
        (("--state", "done"), "unknown state 'done'"),
        (("--method", "erms"), "unknown method 'erms'"),
        (("--dataset", "tinny"), "unknown dataset 'tinny'; did you mean 'tiny'"),
        (("--seeds", "3"), "--seeds names a plan: add --plan"),
    ]:
        status, _, error = call("status", "--out", store.root, *words)
        assert (status, said in error) == (2, True), error


def test_status_of_a_plan_has_what_is_not_begun(finished, store, call, own_folder):
    words = ["--plan", "--method", "erm", "--method", "rs", "--dataset", "tiny", "--seeds", "2", "--device", "cpu"]
    words += ["--override", "recipe.plain.epochs=1", "--override", "recipe.batch_size=8"]
    status, printed, said = call("status", "--out", store.root, "--json", *words)
    assert status == 0, said
    rows = json.loads(printed)
    named = [(row["method"].split(" ")[0], row["seed"]) for row in rows]
    assert named == [("ERM", 0), ("ERM", 1), ("RS", 0), ("RS", 1)]
    assert [row["state"] for row in rows] == ["finished", "pending", "pending", "pending"]
    assert rows[0]["experiment"] == finished
    assert "3 pending" in call("status", "--out", store.root, "--state", "pending", *words)[1]
    shutil.rmtree(store.runs / finished)
    again = json.loads(call("status", "--out", store.root, "--json", *words)[1])
    assert [row["state"] for row in again] == ["finished", "pending", "pending", "pending"], "MLflow has it"


@pytest.mark.parametrize("identity", ["../precious", "", "..", "."])
def test_a_hostile_experiment_id_in_mlflow_deletes_no_other_folder(identity, store, call, own_folder):
    """A shared server may hold anything; the tag becomes a path."""
    precious = store.root / "precious"
    for folder in (precious, store.runs / "0123456789abcdef"):
        folder.mkdir(parents=True)
        (folder / "kept").touch()
    tags = {"mltbench.kind": "experiment", "mltbench.experiment_id": identity}
    run = store.client.create_run(store.experiment("tiny"), run_name="x", tags=tags)
    status, _, error = call("runs", "delete", run.info.run_id, "--yes", "--out", store.root)
    assert (status, error) == (0, "")
    assert (precious / "kept").exists()
    assert (store.runs / "0123456789abcdef" / "kept").exists()


def test_status_is_in_the_order_of_the_tables(dataset, failed, store, call, own_folder):
    plan = tiny_plan(("ldam", "db", "erm"), seeds=(1, 0))
    for planned in plan.experiments:
        folder = RunFolder(store.runs / planned.experiment.id)
        folder.path.mkdir()
        folder.announce(planned, plan.name)
    rows = json.loads(call("status", "--out", store.root, "--json")[1])
    named = [(row["method"] or "", row["seed"]) for row in rows]
    assert [(name.split(" ")[0], seed) for name, seed in named] == [
        *(("ERM", 0), ("ERM", 1), ("LDAM", 0), ("LDAM", 1), ("DB", 0), ("DB", 1)),
        ("", None),
    ]
