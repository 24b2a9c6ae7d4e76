"""`mltbench bench rehearsal`: what it trains, that its variants train the same, and what it says of those that fail."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from mltbench.benchmark.runs.provenance import machine
from mltbench.benchmark.speed import rehearsal, rehearsal_data
from mltbench.benchmark.speed.rehearsal import EAGER, GRAPHED, Rehearsal, Result, rehearse
from mltbench.benchmark.speed.rehearsal_data import (
    COCO,
    VOC,
    long_tailed_labels,
    rehearsed_experiment,
    synthetic_dataset,
)
from mltbench.benchmark.speed.rehearsal_variants import Speed, Variant, open_run
from mltbench.benchmark.training.augmentation import DRAWS_PER_IMAGE
from mltbench.benchmark.training.check import tiny_dataset, tiny_experiment
from mltbench.benchmark.training.execution import Execution
from mltbench.benchmark.training.graphed_step import warm_up_without_trace
from mltbench.benchmark.training.lock_step import paper_cohort
from mltbench.benchmark.training.trainer import Trainer
from mltbench.methods.catalogue import get_method

# Smaller than the miniature: the network of the demo.
SETTING = replace(rehearsal_data.small_setting("cpu"), backbone="digits-resnet", seconds=0.1)
PLAIN = Variant(name="plain loop", loop="plain")


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


def test_the_cohort_is_the_paper_s_re_sampled_methods(tmp_path):
    shape = SETTING.shapes[0]
    dataset = synthetic_dataset(shape, image_size=SETTING.image_size)
    experiment = rehearsed_experiment(SETTING, shape, dataset)
    together = paper_cohort(experiment, presets="voc-mlt")
    assert {member.method.name for member in together} == {
        "rs", "rs-focal", "r-bce", "r-bce-focal", "db", "db-focal", "rs+rw-focal", "rs+cb-focal"
    }  # fmt: skip
    run = open_run(SETTING, experiment, dataset, Variant(name="cohort", cohort=True), tmp_path)
    assert [next(run.steps) for _ in range(2)] == [8 * SETTING.batch_size] * 2


def test_the_command_measures_variants_and_says_why_one_is_missing(call, own_folder, monkeypatch, tmp_path):
    monkeypatch.setattr(rehearsal_data, "small_setting", lambda device: SETTING)
    listed = (EAGER, GRAPHED, Variant(name="concurrent, 2 processes", runs=2))
    monkeypatch.setattr(rehearsal, "VARIANTS", listed)
    file = tmp_path / "rehearsal.json"
    status, printed, said = call("bench", "rehearsal", "--miniature", "--device", "cpu", "--json", file)
    assert status == 0, said
    assert "graphed: needs CUDA" in printed
    found = json.loads(file.read_text())
    eager, graphed, concurrent = found["variants"]
    assert graphed["reason"] == "needs CUDA"
    assert graphed["shapes"] == {}
    for variant in (eager, concurrent):
        assert variant["reason"] is None, variant
        assert all(variant["shapes"][name]["images_per_second"] > 0 for name in ("voc", "coco"))
        assert 0 < variant["shapes"]["voc"]["share_of_peak"] < 2
        assert variant["paper_seconds"] > 0
    assert eager["shapes"]["voc"]["flop_per_image"] > 1e6
    assert found["machine"]["device"] == "cpu"


@pytest.mark.soak
def test_a_variant_that_fails_is_reported_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(rehearsal, "VARIANTS", (Variant(name="compiled", compiled=True), PLAIN))
    found = rehearse(replace(SETTING, shapes=SETTING.shapes[:1], compiler="nonesuch"), minutes=3)
    assert "nonesuch" in found.results[0].reason
    assert found.results[1].reason is None
    assert found.paper_seconds(found.results[1]) is None


@pytest.mark.soak
def test_nothing_runs_after_its_minutes(monkeypatch):
    monkeypatch.setattr(rehearsal, "VARIANTS", (EAGER, PLAIN))
    found = rehearse(replace(SETTING, seconds=300), minutes=0.1)
    assert found.results[0].reason == "ended, because the time was up"
    assert found.results[1].reason == "no time left of 0.1 minutes"


def test_time_of_the_paper_and_share_of_the_peak_by_hand():
    def speed(rate, **more):
        return Speed(rates=(rate / 2, rate, 9 * rate), peak_mib=1, setup_seconds=100, **more)

    eager = Result(variant=EAGER, speeds={
        "voc": speed(100, evaluation_seconds=2, flop_per_image=50),
        "coco": speed(50, evaluation_seconds=3, flop_per_image=60),
    })  # fmt: skip
    graphed = Result(variant=GRAPHED, speeds={"voc": speed(200), "coco": speed(100)})
    found = Rehearsal(setting=SETTING, peak=40_000, results=(eager, graphed))
    assert found.paper_seconds(graphed) == pytest.approx(796_160 / 200 + 14 * 2 + 2_360_160 / 100 + 14 * 3)
    assert found.share_of_peak(graphed, "coco") == pytest.approx(0.15)


def test_compiled_steps_are_the_trainer_s_own(tmp_path):
    shape = SETTING.shapes[0]
    dataset = synthetic_dataset(shape, image_size=SETTING.image_size)
    experiment = rehearsed_experiment(SETTING, shape, dataset)
    found = []
    for variant in (EAGER, Variant(name="compiled", compiled=True)):
        torch.manual_seed(0)
        run = open_run(SETTING, experiment, dataset, variant, tmp_path)
        if variant == EAGER:
            # As what compiles: one step that folds the trunk.
            course = run.trainer.begin_epoch(0)
            run.trainer.train_step(course.on_device[:8], run.trainer.draw(8))
        torch.manual_seed(0)
        assert [next(run.steps) for _ in range(4)] == [8] * 4
        found.append(run.trainer.optimiser.flat.detach().clone())
    assert torch.allclose(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_warming_up_leaves_no_trace():
    fresh, warmed = (Trainer(tiny_experiment(get_method("db-focal")), tiny_dataset(), Execution()) for _ in range(2))
    indices, draws = torch.arange(8), torch.rand(8, DRAWS_PER_IMAGE)
    stem = fresh.stem(indices, fresh.prepare(draws))
    losses = []
    for trainer in (fresh, warmed):
        torch.manual_seed(0)
        if trainer is warmed:
            warm_up_without_trace(trainer, stem, indices)
        losses.append([trainer.train_step(indices, draws).item() for _ in range(3)])
    assert losses[0] == losses[1]
    assert warmed.steps == 3
    assert all(
        torch.equal(value, warmed.network.state_dict()[name]) for name, value in fresh.network.state_dict().items()
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
@pytest.mark.parametrize("method", ["erm", "db-focal"])
def test_graphed_steps_are_the_eager_ones(method):
    eager, graphed = (
        Trainer(
            tiny_experiment(get_method(method), learning_rate=0.002, dropout=0.0),
            tiny_dataset(),
            Execution(device="cuda", graphed=graphed),
        )
        for graphed in (False, True)
    )
    for epoch in range(25):
        for trainer in (eager, graphed):
            trainer.train_epoch(epoch)
    assert eager.steps == graphed.steps >= 50
    assert graphed.graph is not None
    expected, found = (trainer.evaluate("test")[1] for trainer in (eager, graphed))
    assert np.abs(expected - found).max() < 1e-3 * np.abs(expected).max()


def test_tf32_is_on_record_where_it_is_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    assert machine("cuda", 1)["float32_matmul"] == "high"
    assert "float32_matmul" not in machine("cpu", 1)
