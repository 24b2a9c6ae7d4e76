import json
import shutil

import pytest
from mltbench.benchmark.executors.claims import open_claims
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.executors.run_plan import carry_out
from mltbench.benchmark.experiments.plan import build_plan
from mltbench.benchmark.runs.heartbeat import hold
from mltbench.benchmark.runs.journal import Journal
from mltbench.benchmark.tracking.store import open_store
from mltbench.benchmark.tracking.sync import find, mend, not_in_mlflow, sync


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


def test_sync_takes_the_run_that_a_plan_has_left_open_and_closes_it(finished, store):
    (run,), (plan,) = store.runs_of(), store.runs_of(kind="plan")
    store.client.delete_run(run.info.run_id)
    store.client.set_terminated(plan.info.run_id, "RUNNING")
    claims = open_claims(store.root, store.tracking_uri)
    assert [problem for _, problem in sync(store, not_in_mlflow(store), claims)] == [""]
    claims.close()
    (again,), (same,) = store.runs_of(), store.runs_of(kind="plan")
    assert (same.info.run_id, same.info.status) == (plan.info.run_id, "FINISHED")
    assert again.data.tags["mlflow.parentRunId"] == plan.info.run_id


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


def test_status_filters_runs_and_refuses_unknown_names(finished, store, call, own_folder):
    failed = store.runs / "0123456789abcdef"
    failed.mkdir()
    Journal(failed).append("start")
    Journal(failed).append("failed", reason="of its own")

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


def test_status_of_a_plan_has_what_nobody_has_begun(finished, store, call, own_folder):
    words = ["--plan", "--method", "erm", "--method", "rs", "--dataset", "tiny", "--seeds", "2", "--device", "cpu"]
    words += ["--override", "recipe.plain.epochs=1", "--override", "recipe.batch_size=8"]
    status, printed, said = call("status", "--out", store.root, "--json", *words)
    assert status == 0, said
    rows = json.loads(printed)
    assert [(row["method"].split(" ")[0], row["seed"]) for row in rows] == [
        ("ERM", 0),
        ("ERM", 1),
        ("RS", 0),
        ("RS", 1),
    ]
    assert [row["state"] for row in rows] == ["finished", "pending", "pending", "pending"]
    assert rows[0]["experiment"] == finished
    assert "3 pending" in call("status", "--out", store.root, "--state", "pending", *words)[1]
    shutil.rmtree(store.runs / finished)
    again = json.loads(call("status", "--out", store.root, "--json", *words)[1])
    assert [row["state"] for row in again] == ["finished", "pending", "pending", "pending"], "MLflow has it"


def test_reconcile_closes_and_thins_out_trials_and_studies_too(finished, store):
    (run,) = store.runs_of()
    make = lambda kind, **tags: store.client.create_run(  # noqa: E731
        run.info.experiment_id,
        run_name=kind,
        tags={"mltbench.kind": kind, "mltbench.origin": store.origin, **{f"mltbench.{k}": v for k, v in tags.items()}},
    )
    study, elsewhere = make("study"), make("study", origin="elsewhere:/results")
    first, twin, orphan = make("trial", attempt="a/1"), make("trial", attempt="a/1"), make("trial", attempt="b/1")
    store.client.set_terminated(first.info.run_id)
    found = find(store)
    assert sorted((finding.kind, finding.name) for finding in found) == sorted(
        [
            ("left open", study.info.run_id),
            ("left open", orphan.info.run_id),
            ("there twice", twin.info.run_id),
        ]
    )
    trial = store.root / "trials" / "0123456789abcdef"
    with hold(trial):
        assert "study" not in {
            finding.words.partition(":")[0] for finding in find(store) if finding.kind == "left open"
        }
    claims = open_claims(store.root, store.tracking_uri)
    assert list(mend(store, found, claims)) == []
    claims.close()
    assert find(store) == []
    assert store.client.get_run(elsewhere.info.run_id).info.status == "RUNNING"


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
    names = {
        "mltbench",
        "commit",
        "dirty",
        "source_digest",
        "lock_digest",
        "command",
        "system",
        "device",
        "device_name",
        "threads",
    }
    assert names <= written.keys()
    assert all(run.data.tags[f"mltbench.provenance.{name}"] == written[name] for name in names - {"command"})
    deciding = json.loads((store.runs / finished / "experiment.json").read_text())["deciding"]
    for name in ("dataset_digest", "weights_digest", "seed"):
        assert run.data.tags[f"mltbench.{name}"] == str(deciding[name])
