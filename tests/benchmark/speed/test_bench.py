"""Benches train what they say in processes of their own, and print and write what they measured.

No test looks at a time.
"""

import contextlib
import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mltbench.benchmark.speed import breakdown, loop, metrics, rehearsal, scale
from mltbench.benchmark.speed.harness import (
    WARM_UP,
    Place,
    Training,
    Variant,
    WorkerError,
    Workers,
    paper_cohort,
    rates_in_turns,
)
from mltbench.benchmark.speed.importing import measure_import
from mltbench.benchmark.speed.rehearsal import COCO, VOC, rehearse, with_whole_paper
from mltbench.benchmark.speed.scale import growth
from mltbench.benchmark.speed.synthetic import long_tailed_labels
from mltbench.benchmark.training.check import tiny_dataset, tiny_experiment
from mltbench.methods.catalogue import get_method
from plans import tiny_plan

CPU = Place(device="cpu", presets="digits-mlt")


def training(**variant):
    torch.manual_seed(0)
    return Training(tiny_experiment(get_method("db-focal")), tiny_dataset(), Variant(name="", **variant), CPU)


def test_a_variant_trains_for_its_seconds_and_at_least_its_steps():
    ours = training()
    # Epochs of the tiny set have two steps of eight images.
    assert ours.take(0, least=3)[:2] == (24, 3)
    images, steps, seconds = ours.take(0.2)
    assert images == 8 * steps
    assert seconds >= 0.2


def test_a_cohort_is_the_papers_re_sampled_methods_and_its_images_count_once_for_each():
    assert {member.method.name for member in paper_cohort(tiny_experiment(get_method("rs")), presets="voc-mlt")} == {
        "rs", "rs-focal", "r-bce", "r-bce-focal", "db", "db-focal", "rs+rw-focal", "rs+cb-focal"
    }  # fmt: skip
    assert {variant.cohort for variant in rehearsal.VARIANTS} == {1, 8}
    together = training(cohort=8)
    assert len({repr(learner.loss) for learner in together.learners}) == len(together.learners) == 8
    assert together.take(0).images == 8 * 8


def test_variants_take_turns_there_and_back_and_a_first_round_does_not_count():
    calls = []
    variants = [lambda seconds, name=name: calls.append((name, seconds)) or len(calls) for name in "ab"]
    assert rates_in_turns(variants, rounds=2, seconds=8) == [[4, 5], [3, 6]]
    assert calls == [("a", 8 * WARM_UP), ("b", 8 * WARM_UP), ("b", 8), ("a", 8), ("a", 8), ("b", 8)]


class Held:
    """At the top level of a file, as other processes need it."""

    def __init__(self, number):
        self.number = number

    def add(self, other):
        self.number += other
        return self.number, os.getpid()

    def fail(self):
        raise ValueError("no such thing\nmore lines")

    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def sleep(self):
        """With a child that holds all that this process has open, as a loader worker does."""
        if not os.fork():
            time.sleep(600)
        time.sleep(600)


def test_processes_keep_their_object_and_say_why_they_fail(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    with Workers(Held, 1, number=2) as processes:
        (first, one), (second, other) = processes.call("add", 1)
        assert (first, second) == (2, 2)
        assert one != other
        assert [number for number, _ in processes.call("add", 2)] == [4, 4]
        for method, words in (("fail", "ValueError: no such thing$"), ("die", "its process died")):
            with pytest.raises(WorkerError, match=words):
                processes.call(method)


def test_nothing_runs_after_the_deadline(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    # A process takes up to 9 s to begin where every core is at work.
    deadline = time.monotonic() + 14
    with Workers(Held, 1, deadline=deadline) as processes:
        (_, pid) = processes.call("add", 1)[0]
        with pytest.raises(WorkerError, match="the time was up"):
            processes.call("sleep")
    assert time.monotonic() < deadline + 10
    assert ends(pid)


def ends(group):
    """Whether nothing of a group of processes is left within ten seconds."""
    until = time.monotonic() + 10
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < until:
            os.killpg(group, 0)
            time.sleep(0.05)
    return time.monotonic() < until


def test_nothing_runs_after_ctrl_c(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    groups = []

    def interrupted():
        with Workers(Held, 1) as processes:
            groups.append(processes.call("add", 1)[0][1])
            threading.Timer(0, os.kill, (os.getpid(), signal.SIGINT)).start()
            processes.call("sleep")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ends(*groups)


# Smaller than the miniature: the network of the demo.
SETTING = replace(rehearsal.small_setting("cpu"), backbone="digits-resnet", seconds=0.1)
ONE, _, PLAIN = rehearsal.VARIANTS


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


@pytest.mark.soak
def test_nothing_runs_after_its_minutes(monkeypatch):
    monkeypatch.setattr(rehearsal, "VARIANTS", (ONE, PLAIN))
    *_, found = rehearse(replace(SETTING, seconds=300), minutes=0.1)
    reasons = [variant["reason"] for variant in found["variants"]]
    assert reasons == ["ended, because the time was up", "no time left of 0.1 minutes"]


def test_time_of_the_paper_and_share_of_the_peak_by_hand():
    def speed(rate, **more):
        return {"images_per_second": rate, "flop_per_image": None, "evaluation_seconds": None, **more}

    one = {
        "voc": speed(100, evaluation_seconds=2, flop_per_image=50),
        "coco": speed(50, evaluation_seconds=3, flop_per_image=60),
    }
    variants = [
        {"name": "one", "shapes": one},
        {"name": "other", "shapes": {"voc": speed(200), "coco": speed(100)}},
    ]
    _, other = with_whole_paper(SETTING, 40_000, variants)
    assert other["paper_seconds"] == pytest.approx(796_160 / 200 + 14 * 2 + 2_360_160 / 100 + 14 * 3)
    assert other["shapes"]["coco"]["share_of_peak"] == pytest.approx(0.15)


# One of each kind, with one thread: what a busy machine measures in seconds.
FEW_VARIANTS = [
    Variant(name="plain loop", loop="plain"),
    Variant(name="plain loop, 1 loader worker", loop="plain", workers=1),
    Variant(name="mltbench"),
    Variant(name="mltbench, 6 methods", cohort=6),
    Variant(name="mltbench, 2 runs at once", runs=2),
]


class Here(Workers):
    """Works in this process, which has imported torch already; another takes five seconds for that."""

    held = None

    def call(self, method, *arguments):
        make, given = self._made
        self.held = self.held or make(*given)
        return [getattr(self.held, method)(*arguments)]


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
    monkeypatch.setattr(
        loop, "Workers", lambda *given, number=1: (Workers if number > 1 else Here)(*given, number=number)
    )
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


def test_the_steps_of_a_breakdown_tell_a_loss_which_images_it_has(dataset, store, monkeypatch):
    """An epoch of the tiny set has two steps of eight images."""
    monkeypatch.setattr(breakdown, "open_store", lambda folder: store)
    plan = tiny_plan(["map-surrogate"], overrides=("recipe.plain.epochs=3", "recipe.batch_size=8"))
    apart, whole = (Training(plan.experiments[0].experiment, tiny_dataset(), Variant(name=""), CPU) for _ in range(2))
    found = breakdown.break_down(plan, apart.feed, apart.learners[0], steps=1)
    assert whole.take(0, least=2)[:2] == (16, 2)
    seen, expected = (each.learners[0].loss.loss_average_all != 0 for each in (apart, whole))
    assert torch.equal(seen, expected)
    assert 0 < expected.sum() < expected.numel()
    assert (found["batch"], found["steps"]) == (8, 3 * 2)


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
    first = iter([Workers])
    monkeypatch.setattr(scale, "Workers", lambda work: next(first, Here)(work))
    found, printed = measured("scale")
    assert printed.count("exponent") >= 2
    assert [size["images"] for size in found["by_images"]] == [200, 2000]
    assert all(seconds > 0 for size in found["by_images"] for seconds in size["seconds"].values())


def test_an_import_is_measured_from_files_to_batches():
    found = measure_import(500)
    assert list(found["seconds"]) == list(found["peak_mib"]) == ["labels", "import", "open", "batches"]
    # Decoded pixels of 32 x 32 and what else there is of an image.
    assert 500 * 32 * 32 * 3 < found["disk_bytes"] < 2 * 500 * 32 * 32 * 3


def test_the_exponent_is_that_of_a_power_law():
    assert growth([10, 100, 1000], [3, 300, 30000]) == pytest.approx(2)
    assert growth([10, 100], [5, 5]) == pytest.approx(0, abs=1e-12)


def test_the_rehearsal_measures_variants_and_says_why_one_is_missing(measured, monkeypatch):
    monkeypatch.setattr(rehearsal, "small_setting", lambda device: replace(SETTING, workers=-1))
    found, printed = measured("rehearsal", "--miniature", "--device", "cpu")
    one, cohort, plain = found["variants"]
    assert f"{PLAIN.name}: ValueError: num_workers option should be non-negative" in printed
    assert (plain["shapes"], plain["paper_seconds"]) == ({}, None)
    for variant in (one, cohort):
        assert variant["reason"] is None, variant
        assert all(variant["shapes"][name]["images_per_second"] > 0 for name in ("voc", "coco"))
        assert 0 < variant["shapes"]["voc"]["share_of_peak"] < 2
        assert variant["paper_seconds"] > 0
    assert one["shapes"]["voc"]["flop_per_image"] > 1e6
