import pytest


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
