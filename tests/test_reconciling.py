import json
import shutil

import pytest
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.journal import Journal
from mltbench.benchmark.plan import build_plan
from mltbench.benchmark.reconciling import find
from mltbench.benchmark.session import carry_out
from mltbench.benchmark.store import open_store


@pytest.fixture
def finished(dataset, store, surroundings):
    """A store with one finished run of the tiny set."""
    quick = ("recipe.plain.epochs=1", "recipe.batch_size=8")
    plan = build_plan(dataset, ["erm"], seeds=[0], overrides=quick)
    assert len(carry_out(plan, store, InProcess(), surroundings).trained) == 1
    return plan.experiments[0].experiment.id


def contents(store):
    """What MLflow has, without the ids that it gives."""
    return sorted(
        (
            run.info.run_name,
            run.info.status,
            run.info.start_time,
            run.info.end_time,
            sorted(run.data.tags.items() - parents(run)),
            sorted(run.data.params.items()),
            sorted(run.data.metrics.items()),
        )
        for run in store.runs_of()
    )


def parents(run):
    return {("mlflow.parentRunId", run.data.tags.get("mlflow.parentRunId"))}


def test_what_is_whole_needs_no_mending(finished, store):
    assert find(store) == []


def test_sync_replays_a_folder_as_the_run_itself_was_brought_and_once(
    finished, store, empty_database, call, own_folder
):
    whole = contents(store)
    shutil.copy(empty_database, store.root / "mlflow.db")
    status, shown, _ = call("sync", "--out", store.root)
    assert (status, "brought 1 of 1 runs" in shown) == (0, True)
    assert contents(open_store(store.root)) == whole
    status, shown, _ = call("sync", "--out", store.root, "--all")
    assert (status, "brought 1 of 1 runs" in shown) == (0, True)
    assert contents(open_store(store.root)) == whole
    assert "brought 0 of 0 runs to MLflow; 1 were there" in call("sync", "--out", store.root)[1]


def test_reconcile_finds_and_mends_what_a_crash_leaves(finished, store, empty_database, call, own_folder):
    (run,) = store.runs_of()
    whole = contents(store)
    twin = store.client.create_run(run.info.experiment_id, tags=dict(run.data.tags))
    store.client.set_terminated(run.info.run_id, "RUNNING")
    orphan = store.client.create_run(
        run.info.experiment_id, run_name="orphan", tags={"mltbench.kind": "experiment", "mltbench.experiment_id": "x"}
    )
    broken = store.runs / "0123456789abcdef"
    broken.mkdir()
    Journal(broken).append("start")
    kinds = sorted(finding.kind for finding in find(store))
    assert kinds == ["interrupted", "left open", "not in MLflow", "there twice"]

    status, shown, _ = call("reconcile", "--out", store.root, "--dry-run")
    assert (status, "mended" in shown) == (0, False)
    assert sorted(finding.kind for finding in find(store)) == kinds
    status, shown, _ = call("reconcile", "--out", store.root)
    assert status == 0, shown
    assert [finding.kind for finding in find(store)] == ["interrupted"]
    assert store.client.get_run(orphan.info.run_id).info.status == "KILLED"
    deleted = {store.client.get_run(name).info.lifecycle_stage for name in (run.info.run_id, twin.info.run_id)}
    assert deleted == {"active", "deleted"}
    mended = [found for found in contents(store) if found[0] != "orphan"]
    assert mended[0][1:2] == whole[0][1:2]


def test_status_tells_states_as_table_and_json(finished, store, call, own_folder):
    folder = store.runs / "0123456789abcdef"
    folder.mkdir()
    Journal(folder).append("start")
    Journal(folder).append("failed", step=3, reason="the loss was not finite")
    status, shown, _ = call("status", "--out", store.root)
    assert status == 0
    assert "1 failed, 1 finished" in shown
    rows = {row["experiment"]: row for row in json.loads(call("status", "--out", store.root, "--json")[1])}
    assert rows[finished]["state"] == "finished"
    assert rows[finished]["in_mlflow"] == "yes"
    assert rows[finished]["seed"] == 0
    assert rows[folder.name]["state"] == "failed"
    assert rows[folder.name]["reason"] == "the loss was not finite"
    assert rows[folder.name]["in_mlflow"] == "no"


def test_reconcile_leaves_what_another_machine_has_open_in_a_shared_store(finished, store):
    (run,) = store.runs_of()
    for kind in ("plan", "experiment"):
        for name, origin in (("theirs", "elsewhere:/results"), ("ours", store.origin)):
            tags = {"mltbench.kind": kind, "mltbench.origin": origin, "mltbench.experiment_id": "x"}
            store.client.create_run(run.info.experiment_id, run_name=name, tags=tags)
    found = [finding for finding in find(store) if finding.kind == "left open"]
    assert [finding.words for finding in found] == ["ours: close it as KILLED"] * 2


def test_a_run_tells_what_it_was_made_with(finished, store):
    (run,) = store.runs_of()
    written = json.loads((store.runs / finished / "provenance.json").read_text())
    names = {"mltbench", "commit", "dirty", "lock_digest", "command", "system", "device", "device_name", "threads"}
    assert names <= written.keys()
    assert all(run.data.tags[f"mltbench.provenance.{name}"] == written[name] for name in names - {"command"})
    deciding = json.loads((store.runs / finished / "experiment.json").read_text())["deciding"]
    for name in ("dataset_digest", "weights_digest", "seed"):
        assert run.data.tags[f"mltbench.{name}"] == str(deciding[name])
