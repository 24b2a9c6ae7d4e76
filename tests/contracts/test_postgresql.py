import re

from mltbench.benchmark.tracking.store import open_store


def test_mlflow_keeps_its_store_in_postgresql(postgresql_uri, tmp_path):
    store = open_store(tmp_path, postgresql_uri)
    run = store.client.create_run(store.experiment("tiny"), tags={"mltbench.kind": "experiment"})
    store.client.log_metric(run.info.run_id, "test/total", 0.1 + 0.2, timestamp=5, step=3)
    store.client.set_terminated(run.info.run_id)
    (found,) = open_store(tmp_path, postgresql_uri, create=False).runs_of("tiny")
    assert found.data.metrics == {"test/total": 0.1 + 0.2}
    assert found.info.artifact_uri.startswith((tmp_path / "artifacts" / "tiny").as_uri())
    assert re.match(r"postgresql://[^@]+@127\.0\.0\.1:", postgresql_uri)
