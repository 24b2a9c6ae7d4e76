from dataclasses import replace

import pytest
from mltbench.benchmark.commands.plans import planned_scorings
from mltbench.benchmark.experiments.plan import build_plan
from mltbench.benchmark.speed import estimate
from mltbench.benchmark.speed.estimate import Rate, expected_seconds, measure_rate, rate_key
from mltbench.benchmark.training.execution import Execution
from mltbench.datasets import registry
from mltbench.datasets.dataset import Dataset
from mltbench.errors import InputError

SMALL = ("recipe.batch_size=8", "recipe.plain.epochs=4", "recipe.resampled.epochs=4")


def no_images():
    raise InputError("there are no images")


@pytest.fixture
def labels_alone(dataset):
    """The tiny set without its images."""
    labels = {name: dataset.split(name).labels for name in ("train", "validation", "test")}
    return Dataset(
        name=dataset.name,
        classes=dataset.classes,
        digests=dataset.digests,
        openers=dict.fromkeys(labels, no_images),
        label_openers={name: lambda value=value: value for name, value in labels.items()},
    )


@pytest.mark.parametrize("method", ["erm", "rs", "ml-gcn"])
def test_a_rate_needs_no_image(method, labels_alone, monkeypatch):
    monkeypatch.setattr(estimate, "SECONDS", 0.0)
    (planned,) = build_plan(labels_alone, [method], seeds=[0], overrides=SMALL).experiments
    rate = measure_rate(planned.experiment, labels_alone, Execution())
    assert rate.steps == estimate.LEAST_STEPS
    assert rate.training == pytest.approx(rate.steps * 8 / rate.seconds)
    assert rate.scoring > 0


def test_seconds_are_images_over_rates(dataset):
    plan = build_plan(dataset, ["erm", "rs"], seeds=[0, 1], overrides=SMALL)
    # Six classes of at most 11 images: ERM takes all 18 (4 epochs), RS int(11 * 6 / 4) = 16 draws.
    assert [planned.images for planned in plan.experiments] == [72, 72, 64, 64]
    rate = Rate(training=20.0, scoring=1.0, steps=1, seconds=1.0)
    seconds = expected_seconds(plan.experiments, {rate_key(plan.experiments[0].experiment): rate})
    assert seconds == pytest.approx((72 + 72 + 64 + 64) / 20)


@pytest.mark.parametrize(("every", "scorings"), [(0, 1), (1, 4), (2, 2), (3, 2), (4, 1), (9, 1)])
def test_validation_is_scored_every_so_many_epochs_and_at_the_end(every, scorings, dataset):
    (planned,) = build_plan(dataset, ["erm"], seeds=[0], overrides=SMALL).experiments
    by_hand = {epoch for epoch in range(1, 4) if every and epoch % every == 0} | {4}
    assert planned_scorings(planned, Execution(evaluate_every=every)) == len(by_hand) == scorings


def test_a_dry_run_prints_the_hours_without_images(labels_alone, own_registrations, monkeypatch, call, own_folder, out):
    entry = replace(registry.get_dataset_entry("tiny"), open=lambda root: labels_alone)
    monkeypatch.setitem(registry._REGISTERED.by_name, "tiny", entry)
    monkeypatch.setattr(estimate, "SECONDS", 0.0)
    words = [word for setting in SMALL for word in ("--override", setting)]
    status, shown, _ = call("run", "--dataset", "tiny", "--method", "erm", "--dry-run", "--out", out, *words)
    assert status == 0
    assert "0 finished, 1 to train: 72 training images. Nothing was trained." in shown
    assert "measured now on cpu, one run, 1 thread: digits-resnet at 48 x 48, batch 8, float32" in shown
    assert "estimated: " in shown
    # 18 images of the validation and 18 of the test split.
    assert "72 training images and 36 scored ones" in " ".join(shown.split())
