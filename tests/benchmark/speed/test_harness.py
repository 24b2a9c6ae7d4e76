"""Variants run in processes of their own and train what they say; a process that fails says why."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from mltbench.benchmark.speed.harness import WARM_UP, Place, Training, Variant, WorkerError, Workers, rates_in_turns
from mltbench.benchmark.training.check import tiny_dataset, tiny_experiment
from mltbench.methods.catalogue import get_method

CPU = Place(device="cpu", presets="digits-mlt", compiler="eager")


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
    together = training(cohort=8)
    assert len({repr(learner.loss) for learner in together.learners}) == len(together.learners) == 8
    assert together.take(0).images == 8 * 8


def test_compiled_steps_are_those_of_eager_training():
    found = []
    for compiled in (False, True):
        variant = training(compiled=compiled)
        if not compiled:
            # As what compiles: one batch that folds the trunk.
            variant.feed.begin_epoch(0)
            next(variant.feed.batches())
            variant.feed.end_epoch()
        torch.manual_seed(0)
        assert variant.take(0, least=4).images == 4 * 8
        found.append(variant.learners[0].optimiser.flat.detach().clone())
    assert torch.allclose(*found, rtol=1e-4, atol=1e-5)


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
        raise ValueError("no such compiler\nmore lines")

    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def sleep(self):
        time.sleep(600)


def test_processes_keep_their_object_and_say_why_they_fail(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    with Workers(Held, 1, number=2) as processes:
        (first, one), (second, other) = processes.call("add", 1)
        assert (first, second) == (2, 2)
        assert one != other
        assert [number for number, _ in processes.call("add", 2)] == [4, 4]
        for method, words in (("fail", "ValueError: no such compiler$"), ("die", "its process died")):
            with pytest.raises(WorkerError, match=words):
                processes.call(method)


@pytest.mark.soak
def test_nothing_runs_after_the_deadline(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    deadline = time.monotonic() + 20
    with Workers(Held, 1, deadline=deadline) as processes:
        (_, pid) = processes.call("add", 1)[0]
        with pytest.raises(WorkerError, match="the time was up"):
            processes.call("sleep")
    assert time.monotonic() < deadline + 10
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
