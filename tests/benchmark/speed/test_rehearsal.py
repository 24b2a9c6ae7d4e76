"""What the rehearsal trains, and what it says of variants that fail."""

from dataclasses import replace

import numpy as np
import pytest
from mltbench.benchmark.runs.provenance import machine
from mltbench.benchmark.speed import rehearsal
from mltbench.benchmark.speed.harness import Variant, paper_cohort
from mltbench.benchmark.speed.rehearsal import COCO, VOC, rehearse, rehearsed_experiment, with_whole_paper
from mltbench.benchmark.speed.synthetic import long_tailed_labels, synthetic_dataset

# Smaller than the miniature: the network of the demo.
SETTING = replace(rehearsal.small_setting("cpu"), backbone="digits-resnet", seconds=0.1)
EAGER, PLAIN = Variant(name="eager"), Variant(name="plain loop", loop="plain")


def test_images_of_the_paper_are_those_of_its_two_tables():
    assert (VOC.paper_images, COCO.paper_images) == (796_160, 2_360_160)


@pytest.mark.parametrize("shape", [VOC, COCO])
def test_labels_are_as_long_tailed_as_the_published_sets(shape):
    labels = long_tailed_labels(shape, shape.images, np.random.default_rng(0))
    counts = labels.sum(axis=0, dtype=int)
    assert labels.shape == (shape.images, shape.classes)
    assert (counts.max(), counts.min()) == (shape.largest, shape.smallest)
    assert (np.diff(counts) <= 0).all()
    assert labels.any(axis=1).all()


def test_the_cohort_is_the_papers_re_sampled_methods():
    shape = SETTING.shapes[0]
    experiment = rehearsed_experiment(SETTING, shape, synthetic_dataset(shape, image_size=SETTING.image_size))
    assert {member.method.name for member in paper_cohort(experiment, presets="voc-mlt")} == {
        "rs", "rs-focal", "r-bce", "r-bce-focal", "db", "db-focal", "rs+rw-focal", "rs+cb-focal"
    }  # fmt: skip
    assert {variant.cohort for variant in rehearsal.VARIANTS} == {1, 8}


@pytest.mark.soak
def test_a_variant_that_fails_is_reported_and_the_others_continue(monkeypatch):
    monkeypatch.setattr(rehearsal, "VARIANTS", (Variant(name="compiled", compiled=True), PLAIN))
    compiled, plain = rehearse(replace(SETTING, shapes=SETTING.shapes[:1], compiler="none"), minutes=3)["variants"]
    assert "none" in compiled["reason"]
    assert (plain["reason"], plain["paper_seconds"]) == (None, None)


@pytest.mark.soak
def test_nothing_runs_after_its_minutes(monkeypatch):
    monkeypatch.setattr(rehearsal, "VARIANTS", (EAGER, PLAIN))
    reasons = [variant["reason"] for variant in rehearse(replace(SETTING, seconds=300), minutes=0.1)["variants"]]
    assert reasons == ["ended, because the time was up", "no time left of 0.1 minutes"]


def test_time_of_the_paper_and_share_of_the_peak_by_hand():
    def speed(rate, **more):
        return {"images_per_second": rate, "flop_per_image": None, "evaluation_seconds": None, **more}

    eager = {
        "voc": speed(100, evaluation_seconds=2, flop_per_image=50),
        "coco": speed(50, evaluation_seconds=3, flop_per_image=60),
    }
    variants = [
        {"name": "eager", "shapes": eager},
        {"name": "other", "shapes": {"voc": speed(200), "coco": speed(100)}},
    ]
    _, other = with_whole_paper(SETTING, 40_000, variants)
    assert other["paper_seconds"] == pytest.approx(796_160 / 200 + 14 * 2 + 2_360_160 / 100 + 14 * 3)
    assert other["shapes"]["coco"]["share_of_peak"] == pytest.approx(0.15)


def test_tf32_is_on_record_where_it_is_used(monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "a GPU")
    assert machine("cuda", 1)["float32_matmul"] == "high"
    assert "float32_matmul" not in machine("cpu", 1)
