"""What `mltbench bench` prints and writes is what it says; no test looks at a time."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from mltbench.benchmark.speed import loop, metrics, rehearsal, scale
from mltbench.benchmark.speed.harness import Variant, WorkerError
from mltbench.benchmark.speed.scale import growth, measure_size

# One of each kind, with one thread: what a busy machine measures in seconds.
FEW_VARIANTS = [
    Variant(name="plain loop", loop="plain"),
    Variant(name="plain loop, 1 loader worker", loop="plain", workers=1),
    Variant(name="mltbench"),
    Variant(name="mltbench, 6 methods", cohort=6),
    Variant(name="mltbench, 2 runs at once", runs=2),
]


@pytest.fixture
def measured(call, own_folder, tmp_path):
    """Run a bench; give the JSON that it wrote, and what it printed."""

    def bench(*words):
        status, printed, error = call("bench", *words, "--json", tmp_path / "found.json")
        assert status == 0, error
        found = json.loads((tmp_path / "found.json").read_text())
        assert found["machine"]["device"] == "cpu"
        assert "machine: " in printed
        return found, printed

    return bench


def test_loops_are_compared_in_a_table(measured, monkeypatch):
    monkeypatch.setattr(loop, "list_variants", lambda cores, device, methods: FEW_VARIANTS)
    threads = torch.get_num_threads()
    found, printed = measured("loop", "--seconds", 0.2, "--rounds", 1, "--device", "cpu")
    for text in ("erm on digits-mlt", *(variant.name for variant in FEW_VARIANTS), "ratio to: plain loop"):
        assert text in printed
    assert [variant["name"] for variant in found["variants"]] == [variant.name for variant in FEW_VARIANTS]
    assert all(variant["images_per_second"] > 0 for variant in found["variants"])
    assert torch.get_num_threads() == threads


def test_a_json_file_without_a_folder_is_refused_before_measuring(tmp_path, call):
    assert "there is no folder" in call("bench", "loop", "--json", tmp_path / "none" / "loop.json")[2]


def test_the_breakdown_names_every_part_and_its_shares_are_one(measured):
    found, printed = measured("breakdown", "--steps", 2, "--device", "cpu")
    names = ["data", "augmentation", "frozen forward", "learning forward", "loss", "optimiser", "backward"]
    assert set(found["milliseconds"]) == {*names, "metrics", "tracking"}
    assert all(name in printed for name in found["milliseconds"])
    assert all(value > 0 for value in found["milliseconds"].values())
    # Digits-MLT: 800 images of the largest class x 20 classes / 4 draws in batches of 32, times 8 epochs.
    assert found["steps"] % 8 == 0


def test_metrics_are_those_of_scikit_learn_with_ties(measured, monkeypatch):
    monkeypatch.setattr(metrics, "SIZES", ((300, 7),))
    scorers = {scorer["name"]: scorer for scorer in measured("metrics")[0]["scorers"]}
    assert scorers["mltbench"]["difference"] < 1e-12
    assert scorers["torchmetrics"]["difference"] < 1e-6
    scores, _ = metrics.scores_with_ties(300, 7, seed=0)
    assert len(np.unique(scores[:, 0])) < 250


def test_scale_measures_in_processes_of_their_own(measured, monkeypatch):
    monkeypatch.setattr(scale, "IMAGES", (200, 2000))
    monkeypatch.setattr(scale, "CLASSES", (20, 40))
    monkeypatch.setattr(scale, "IMAGES_OF_MANY_CLASSES", 500)
    found, printed = measured("scale")
    assert printed.count("exponent") >= 2
    assert [size["images"] for size in found["by_images"]] == [200, 2000]
    assert all(seconds > 0 for size in found["by_images"] for seconds in size["seconds"].values())
    with pytest.raises(WorkerError, match=r"labels must be a matrix .* got shape \(0, 20\)"):
        measure_size(0, 20, sparse=False)


def test_the_exponent_is_that_of_a_power_law():
    assert growth([10, 100, 1000], [3, 300, 30000]) == pytest.approx(2)
    assert growth([10, 100], [5, 5]) == pytest.approx(0, abs=1e-12)


def test_the_rehearsal_measures_variants_and_says_why_one_is_missing(measured, monkeypatch):
    setting = replace(rehearsal.small_setting("cpu"), backbone="digits-resnet", seconds=0.1)
    two = Variant(name="concurrent, 2 processes", runs=2)
    monkeypatch.setattr(rehearsal, "small_setting", lambda device: setting)
    monkeypatch.setattr(rehearsal, "VARIANTS", (Variant(name="eager"), Variant(name="graphed", graphed=True), two))
    found, printed = measured("rehearsal", "--miniature", "--device", "cpu")
    assert "graphed: needs CUDA" in printed
    eager, graphed, concurrent = found["variants"]
    assert (graphed["reason"], graphed["shapes"]) == ("needs CUDA", {})
    for variant in (eager, concurrent):
        assert variant["reason"] is None, variant
        assert all(variant["shapes"][name]["images_per_second"] > 0 for name in ("voc", "coco"))
        assert 0 < variant["shapes"]["voc"]["share_of_peak"] < 2
        assert variant["paper_seconds"] > 0
    assert eager["shapes"]["voc"]["flop_per_image"] > 1e6
