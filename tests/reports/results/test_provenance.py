"""What every experiment was made with, on runs that differ in everything."""

import json
import math

import pytest
from made_up_runs import ListedStore, frame_of, record
from mltbench.reports.results.provenance import configuration_records


@pytest.fixture
def runs(tmp_path):
    deciding = {"deciding": {"weights_digest": "ww", "word_vectors_digest": "", "other": "x"}}
    (tmp_path / "runs" / "rs5").mkdir(parents=True)
    (tmp_path / "runs" / "rs5" / "experiment.json").write_text(json.dumps(deciding))

    def of(method, seed, scores, **changes):
        settings = json.dumps({"method": method, "seed": str(seed), "dataset": "d", "recipe.epochs": "7"})
        made = {
            "settings": settings, "provenance": json.dumps({"torch": f"2.{seed}"}), "command": f"run {method} {seed}",
            "run_id": f"r{seed}", "started": 1_700_000_000_999 + 1000 * seed, "train_seconds": 1.5 * seed,
            "dataset_digest": f"digest of {method}", "numerics_version": seed, "mlflow_experiment": "4",
            "artifact_uri": (tmp_path / "away").as_uri(), "validation_total": scores[0] + 20,
        }  # fmt: skip
        return record(method, seed, scores, **made | changes)

    return frame_of(
        of("rs", 5, (1, 2, 3, math.nan)), of("erm", 4, (5, 6, 7, 8), overrides="mu=1"), of("rs", 3, (9, 10, 11, 12)),
        of("db", 2, (13, 14, 15, 16), state="failed"),
    )  # fmt: skip


def test_a_configuration_has_a_record_with_all_its_experiments(runs, tmp_path):
    store = ListedStore(root=tmp_path, tracking_uri="https://mlflow.example/")
    rs, erm = configuration_records(store, runs)
    experiments = rs.pop("experiments")
    assert rs == {
        "id": "c-rs", "label": "RS", "dataset": "digits-mlt",
        "digests": {"dataset_digest": "digest of rs", "weights_digest": "ww"},
        "settings": {"recipe.epochs": "7", "numerics_version": "5"},
    }  # fmt: skip
    assert (erm["label"], erm["digests"]) == ("ERM (mu=1)", {"dataset_digest": "digest of erm"})
    results = {"total": 1, "head": 2, "medium": 3, "tail": None, "validation_total": 21, "validation_head": None,
               "validation_medium": None, "validation_tail": None}  # fmt: skip
    assert experiments[1] == {
        "id": "rs5", "seed": 5, "results": results, "train_seconds": 7.5, "command": "run rs 5", "run_id": "r5",
        "link": "https://mlflow.example/#/experiments/4/runs/r5", "started": "2023-11-14 22:13:25",
        "provenance": {"torch": "2.5"},
    }  # fmt: skip
    assert [one["seed"] for one in experiments] == [3, 5]


@pytest.mark.parametrize(
    ("uri", "linked"),
    [("http://a", True), ("https://a", True), ("https://me:pw@a", False), ("sqlite:///a.db", False)],
)
def test_a_link_is_to_a_server_and_holds_no_password(uri, linked, runs, tmp_path):
    store = ListedStore(root=tmp_path, tracking_uri=uri)
    links = [one["link"] for found in configuration_records(store, runs) for one in found["experiments"]]
    assert links == [f"{uri}/#/experiments/4/runs/r{seed}" if linked else None for seed in (3, 5, 4)]
