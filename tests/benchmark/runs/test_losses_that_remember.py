"""Losses that remember batches, or change in the course of training: killed and resumed, their bits are the same."""

import sys

import pytest
import torch
from crashes import KILLED, cohort_job, fingerprint, in_child, steps_and_kill
from mltbench.benchmark.experiments.recipe import Schedule
from mltbench.benchmark.runs import run
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.runs.run import run_cohort
from mltbench.benchmark.training.learner import Learner
from plans import PLAIN

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")

EPOCHS = Schedule(epochs=3, decay_after=())
# Of three epochs of three steps, SPLC corrects from the second on, LDAM-DRW weighs from the third on. At the first
# steps every probability is near a half.
SWITCHED = {"splc": {"threshold": 0.45, "correct_from": 1 / 3}, "ldam-drw": {"deferred_until": 2 / 3}}
NEVER = {"splc": SWITCHED["splc"] | {"correct_from": 1}, "ldam-drw": {"deferred_until": 1}}
EVERY_IMAGE, RANKED = ("erm", "eql-v2", "splc", "ldam-drw"), ("map-surrogate", "plainly")
# Steps, those of all members counted: in the first epoch, the second and the third, before one of its members.
KILLS = {EVERY_IMAGE: (4 + 1, 3 * 4 + 2, 3 * 4 + 3), RANKED: (2 + 1, 3 * 2 + 1, 3 * 2 + 1)}


@pytest.fixture(autouse=True)
def plainly(dataset, plugin):
    """A method without memory that is trained on the surrogate's batches."""
    plugin("plainly", PLAIN, like="map-surrogate")


@pytest.fixture
def remembered(monkeypatch):
    """What the loss of each method remembers when an epoch ends, the last one at last."""
    states = {}

    class Watched(Learner):
        def __init__(self, experiment, *more, **named):
            super().__init__(experiment, *more, **named)
            self.name = experiment.method.name

        def end_epoch(self, feed):
            states[self.name] = {name: value.clone() for name, value in self.loss.state_dict().items()}
            return super().end_epoch(feed)

    monkeypatch.setattr(run, "Learner", Watched)
    return states


def job_of(names, folder, parameters=SWITCHED):
    return cohort_job(names, folder, parameters=parameters, plain=EPOCHS, resampled=EPOCHS)


def train_alone(names, folder, parameters=SWITCHED):
    for job in job_of(names, folder, parameters).one_by_one():
        assert run_cohort(job)


def steps_resumed(folder):
    return [entry.details["steps"] for entry in read_journal(folder) if entry.event == "resumed"]


@pytest.mark.parametrize("names", [EVERY_IMAGE, RANKED], ids="-".join)
def test_a_killed_cohort_comes_to_what_each_comes_to_alone(names, tmp_path, remembered):
    train_alone(names, tmp_path / "alone")
    expected, job = {name: dict(state) for name, state in remembered.items()}, job_of(names, tmp_path / "killed")
    remembered.clear()
    for number in KILLS[names]:
        assert in_child(steps_and_kill, job, number) == KILLED
    assert run_cohort(job)
    for name in names:
        assert steps_resumed(tmp_path / "killed" / name) == [1, 4, 7], "in the middle of each epoch"
        assert fingerprint(tmp_path / "killed" / name) == fingerprint(tmp_path / "alone" / name), name
        assert remembered[name].keys() == expected[name].keys()
        assert all(torch.equal(value, expected[name][key]) for key, value in remembered[name].items()), name
    changes = {"eql-v2": "loss_positive_gradients", "map-surrogate": "loss_average_all"}
    assert all(remembered[name][changes[name]].any() for name in changes.keys() & names)


def losses(folder):
    return [e.metrics["train/loss"] for e in read_journal(folder) if e.event == "epoch"]


@pytest.mark.parametrize(("name", "before"), [("splc", 1), ("ldam-drw", 2)])
def test_a_loss_changes_when_its_share_of_the_epochs_is_done(name, before, tmp_path):
    train_alone([name], tmp_path / "switched")
    train_alone([name], tmp_path / "never", NEVER)
    switched, never = (losses(tmp_path / folder / name) for folder in ("switched", "never"))
    assert [a == b for a, b in zip(switched, never, strict=True)] == [epoch < before for epoch in range(3)]
