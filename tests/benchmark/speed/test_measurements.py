"""What `mltbench bench breakdown`, `metrics` and `scale` measure is what it says; no test looks at a time."""

import json

import numpy as np
import pytest
from mltbench.benchmark.speed import metrics, scale
from mltbench.benchmark.speed.harness import WorkerError
from mltbench.benchmark.speed.scale import growth, measure_size


def test_the_breakdown_names_every_part_and_its_shares_are_one(call, own_folder, tmp_path):
    file = tmp_path / "breakdown.json"
    status, printed, error = call("bench", "breakdown", "--steps", 2, "--device", "cpu", "--json", file)
    assert status == 0, error
    found = json.loads(file.read_text())
    names = ["data", "augmentation", "frozen forward", "learning forward", "loss", "optimiser", "backward"]
    assert set(found["milliseconds"]) == {*names, "metrics", "tracking"}
    assert all(name in printed for name in found["milliseconds"])
    assert all(value > 0 for value in found["milliseconds"].values())
    # Digits-MLT: 800 images of the largest class x 20 classes / 4 draws in batches of 32, times 8 epochs.
    assert found["steps"] % 8 == 0
    assert found["machine"]["device"] == "cpu"


def test_metrics_are_those_of_scikit_learn_with_ties(call, own_folder, monkeypatch, tmp_path):
    monkeypatch.setattr(metrics, "SIZES", ((300, 7),))
    file = tmp_path / "metrics.json"
    status, _, error = call("bench", "metrics", "--json", file)
    assert status == 0, error
    scorers = {scorer["name"]: scorer for scorer in json.loads(file.read_text())["scorers"]}
    assert scorers["mltbench"]["difference"] < 1e-12
    assert scorers["torchmetrics"]["difference"] < 1e-6
    scores, _ = metrics.scores_with_ties(300, 7, seed=0)
    assert len(np.unique(scores[:, 0])) < 250


def test_the_exponent_is_that_of_a_power_law():
    assert growth([10, 100, 1000], [3, 300, 30000]) == pytest.approx(2)
    assert growth([10, 100], [5, 5]) == pytest.approx(0, abs=1e-12)


def test_scale_measures_in_processes_of_their_own(call, own_folder, monkeypatch, tmp_path):
    monkeypatch.setattr(scale, "IMAGES", (200, 2000))
    monkeypatch.setattr(scale, "CLASSES", (20, 40))
    monkeypatch.setattr(scale, "IMAGES_OF_MANY_CLASSES", 500)
    file = tmp_path / "scale.json"
    status, printed, error = call("bench", "scale", "--json", file)
    assert status == 0, error
    assert printed.count("exponent") >= 2
    found = json.loads(file.read_text())
    assert [size["images"] for size in found["by_images"]] == [200, 2000]
    assert all(seconds > 0 for size in found["by_images"] for seconds in size["seconds"].values())
    with pytest.raises(WorkerError, match=r"labels must be a matrix .* got shape \(0, 20\)"):
        measure_size(0, 20, sparse=False)
