import json
from dataclasses import replace
from unittest import mock

import pytest
from mltbench.benchmark.commands import plans
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.executors.run_plan import run_plan
from mltbench.benchmark.executors.settings import RunSettings
from mltbench.benchmark.experiments.plan import build_plan
from mltbench.benchmark.networks.initial_weights import BackboneChoice
from mltbench.benchmark.runs.provenance import machine
from mltbench.benchmark.speed import estimate as estimates
from mltbench.benchmark.speed.estimate import (
    Kind,
    Speed,
    estimate,
    finished_speeds,
    kind_of,
    makespan,
    measure_speed,
    planned_scorings,
)
from mltbench.benchmark.training.execution import Execution
from mltbench.datasets import registry
from mltbench.datasets.dataset import Dataset
from mltbench.errors import InputError
from plans import tiny_plan

SMALL = ("recipe.batch_size=8", "recipe.plain.epochs=4", "recipe.resampled.epochs=4")


STEP = estimates._Step(images=4, feed=1.0, learner=1.0)
RANDOM_MOBILENET = BackboneChoice(backbone="mobilenet_v2", weights="random")


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


@pytest.fixture
def registered(labels_alone, monkeypatch, own_registrations):
    """The tiny set under its name, without its images."""
    entry = replace(registry.get_dataset_entry("tiny"), open=lambda root: labels_alone)
    monkeypatch.setitem(registry._REGISTERED.by_name, "tiny", entry)
    return labels_alone


@pytest.mark.parametrize("method", ["erm", "rs", "ml-gcn"])
def test_a_speed_needs_no_image(method, labels_alone, monkeypatch):
    monkeypatch.setattr(estimates, "SECONDS", 0.0)
    (planned,) = build_plan(labels_alone, [method], seeds=[0], overrides=SMALL).experiments
    alone = measure_speed(planned.experiment, labels_alone, Execution())
    assert alone.steps == estimates.LEAST_STEPS
    assert alone.training > 0
    assert alone.scoring > 0


def test_what_a_cohort_shares_is_divided_among_its_experiments(labels_alone, monkeypatch):
    steps = [estimates._Step(images=8, feed=4.0, learner=1.0), estimates._Step(images=2, feed=1.0, learner=0.5)]
    monkeypatch.setattr(estimates, "_timed_steps", lambda training: steps)
    (planned,) = build_plan(labels_alone, ["rs"], seeds=[0], overrides=SMALL).experiments
    found = [measure_speed(planned.experiment, labels_alone, Execution(), cohort) for cohort in (1, 5)]
    # 10 images: 5 s in the feed, 1.5 s in the learner.
    assert [speed.training for speed in found] == pytest.approx([0.65, 0.1 + 0.15])


def test_photographs_are_timed_in_small_batches_on_a_cpu(labels_alone, monkeypatch):
    """A step of 32 photographs takes a CPU seconds."""
    made = mock.Mock(return_value=mock.Mock(learners=[mock.Mock()]))
    monkeypatch.setattr(estimates, "Training", made)
    monkeypatch.setattr(estimates, "_timed_steps", lambda training: [STEP])
    plan = build_plan(labels_alone, ["rs"], seeds=[0], backbone=RANDOM_MOBILENET, recipe="photos-short")
    measure_speed(plan.experiments[0].experiment, labels_alone, Execution())
    timed, images, *_ = made.call_args.args
    assert timed.training["batch_size"] == len(images.labels("test")) == 4
    assert plan.experiments[0].experiment.training["batch_size"] == 32


@pytest.mark.parametrize(
    ("times", "workers", "end"), [([5], 1, 5), ([5, 4, 3], 1, 12), ([5, 4, 3], 2, 7), ([1, 1, 9], 2, 10)]
)
def test_jobs_are_begun_in_order_as_workers_get_free(times, workers, end):
    assert makespan(times, workers) == end


@pytest.fixture
def speed(monkeypatch):
    """Every kind has this speed, and no step is timed."""
    given = Speed(training=0.5, scoring=0.25, steps=3)
    monkeypatch.setattr(estimates, "measure_speed", lambda experiment, dataset, execution, cohort: given)
    return given


def test_seconds_are_images_times_their_seconds(speed, registered, tmp_path):
    plan = build_plan(registered, ["erm", "rs"], seeds=[0, 1], overrides=SMALL)
    # Six classes of at most 11 images: ERM takes all 18 (4 epochs), RS int(11 * 6 / 4) = 16 draws.
    assert [planned.images for planned in plan.experiments] == [72, 72, 64, 64]
    found = estimate(plan, plan.experiments, tmp_path, RunSettings(data_root=tmp_path))
    scored = 4 * (18 + 18)
    assert (found.images, found.scored) == (272, scored)
    assert found.seconds == pytest.approx(272 * 0.5 + scored * 0.25)


def test_workers_share_the_time_and_what_was_seen_before_is_left_out(speed, registered, tmp_path, monkeypatch):
    monkeypatch.setattr(estimates, "usable_cores", lambda: 2)
    plan = build_plan(registered, ["erm"], seeds=[0, 1], overrides=SMALL)
    one = plan.experiments[0].experiment.id
    found = estimate(plan, plan.experiments, tmp_path, RunSettings(data_root=tmp_path, workers=2), begun={one: 70})
    assert found.seconds == pytest.approx(72 * 0.5 + 36 * 0.25)
    assert found.images == 2 + 72
    crowded = RunSettings(data_root=tmp_path, workers=2, execution=Execution(threads=4))
    assert estimate(plan, plan.experiments, tmp_path, crowded).seconds == pytest.approx(4 * found.seconds)


def test_without_timing_and_without_finished_runs_nothing_is_said(registered, tmp_path):
    plan = build_plan(registered, ["erm"], seeds=[0], overrides=SMALL)
    assert estimate(plan, plan.experiments, tmp_path, RunSettings(data_root=tmp_path), timing=False) is None


def test_finished_runs_of_the_kind_are_believed_before_a_timing(dataset, store, settings):
    plan = tiny_plan(("erm", "focal"))
    assert not run_plan(plan, store, settings).failed
    first = plan.experiments[0].experiment
    kind = kind_of(first.dataset, first.backbone, first.training, cohort=2)
    (found,) = finished_speeds(store.runs, settings.execution, scored=36).items()
    assert found[0] == kind
    assert found[1].runs == 2
    costs = [
        value
        for planned in plan.experiments
        for line in (store.runs / planned.experiment.id / "journal.jsonl").read_text().splitlines()
        for name, value in json.loads(line)["metrics"].items()
        if name == "cost/images_per_second"
    ]
    assert found[1].training == pytest.approx((1 / costs[0] + 1 / costs[1]) / 2)
    again = tiny_plan(("rw", "cb-focal"))
    expected = estimate(again, again.experiments, store.runs, settings, timing=False)
    assert expected.speeds == {kind: found[1]}
    assert "as 2 finished runs here" in str(expected)


@pytest.mark.parametrize(("key", "value"), [("device_name", "another processor"), ("threads", "7")])
def test_runs_of_another_machine_or_with_other_threads_say_nothing(key, value, finished, store, settings):
    path = store.runs / finished / "provenance.json"
    assert finished_speeds(store.runs, settings.execution, scored=36)
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    assert finished_speeds(store.runs, settings.execution, scored=36) == {}


def test_the_end_of_a_cohort_is_divided_into_its_scorings(tmp_path):
    """Three runs that are scored one after the other, 2 s each for 20 images."""
    training = {"image_size": 48, "batch_size": 32, "precision": "float32"}
    deciding = {"backbone": "digits-resnet", "training": training}
    for place in (1, 2, 3):
        folder = tmp_path / str(place)
        folder.mkdir()
        (folder / "provenance.json").write_text(json.dumps({**machine("cpu", 1), "cohort": "3"}))
        (folder / "experiment.json").write_text(json.dumps({"labels": {"dataset": "x"}, "deciding": deciding}))
        entry = {"step": 1, "details": {}}
        lines = [
            entry | {"event": "epoch", "time": 1000, "metrics": {}},
            entry | {"event": "finished", "time": 1000 + 2000 * place, "metrics": {"cost/images_per_second": 4.0}},
        ]
        (folder / "journal.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    found = finished_speeds(tmp_path, Execution(), scored=20)
    assert found == {
        Kind("x", "digits-resnet", 48, 32, "float32", 3): Speed(training=0.25, scoring=pytest.approx(0.1), runs=3)
    }


@pytest.mark.parametrize(("every", "scorings"), [(0, 1), (1, 4), (2, 2), (3, 2), (4, 1), (9, 1)])
def test_validation_is_scored_every_so_many_epochs_and_at_the_end(every, scorings, dataset):
    (planned,) = build_plan(dataset, ["erm"], seeds=[0], overrides=SMALL).experiments
    by_hand = {epoch for epoch in range(1, 4) if every and epoch % every == 0} | {4}
    assert planned_scorings(planned, Execution(evaluate_every=every)) == len(by_hand) == scorings


def test_a_dry_run_prints_the_time_without_images(registered, monkeypatch, call, own_folder, out):
    monkeypatch.setattr(estimates, "SECONDS", 0.0)
    words = [word for setting in SMALL for word in ("--override", setting)]
    status, shown, _ = call("run", "--dataset", "tiny", "--method", "erm", "--dry-run", "--out", out, *words)
    assert status == 0
    assert "0 finished, 1 to train: 72 training images. Nothing was trained." in shown
    assert "on this machine (72 images at " in shown
    assert "2 steps timed now)" in shown


def test_a_run_says_how_long_it_takes_before_it_trains(speed, dataset, store, settings, monkeypatch, capsys):
    """Of a cohort too; a plan that ends at once does not wait for a timing."""
    assert not plans.train_plan(tiny_plan(), store, settings, InProcess())
    assert "on this machine" not in capsys.readouterr().out
    monkeypatch.setattr(plans, "WORTH_TIMING", 10)
    plan = tiny_plan(("rs", "db"))
    assert not plans.train_plan(plan, store, settings, InProcess())
    lines = capsys.readouterr().out.splitlines()
    (place,) = [i for i, line in enumerate(lines) if line.startswith("about ")]
    assert f"({sum(planned.images for planned in plan.experiments)} images at 2/s: 3 steps timed now)" in lines[place]
    assert "to train on cpu" in lines[place - 1]
    assert "done" in "".join(lines[place + 1 :])


def test_a_loss_that_fails_does_not_fail_the_estimate(plugin, labels_alone, monkeypatch):
    monkeypatch.setattr(estimates, "SECONDS", 0.0)
    plugin("bad", 'raise RuntimeError("no way")')
    (planned,) = build_plan(labels_alone, ["bad"], seeds=[0], overrides=SMALL).experiments
    assert measure_speed(planned.experiment, labels_alone, Execution()).training > 0
