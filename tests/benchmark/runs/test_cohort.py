import os
import signal
from dataclasses import replace

import pytest
import torch
from crashes import KILLED, cohort_job, fingerprint, in_child, steps_and_kill
from mltbench.benchmark.executors.run_plan import cohort_key, run_plan
from mltbench.benchmark.executors.settings import LARGEST_COHORT, RunSettings
from mltbench.benchmark.experiments.recipe import Schedule
from mltbench.benchmark.runs.folder import RunFolder, State
from mltbench.benchmark.runs.interruption import Interrupted
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.runs.run import run_cohort
from mltbench.benchmark.training.check import tiny_experiment
from mltbench.benchmark.training.feed import Feed
from mltbench.benchmark.training.learner import Learner
from mltbench.methods.catalogue import get_method
from plans import QUICK, make_plan

EPOCHS = Schedule(epochs=3, decay_after=(1,))
RESAMPLED = ("rs", "r-bce", "db-focal")
EVERY_IMAGE = ("erm", "ml-gcn", "focal")

FAILS = """
if self.calls == 3:
    raise RuntimeError("in a mood")
return logits.sum()
"""


def job_of(names, folder, checkpoint_seconds=60.0):
    """A cohort of three epochs of two steps, or of three."""
    settings = {"plain": EPOCHS, "resampled": EPOCHS, "batch_size": 8}
    return cohort_job(names, folder, checkpoint_seconds=checkpoint_seconds, **settings)


def train_alone(names, folder):
    for job in job_of(names, folder).one_by_one():
        assert run_cohort(job)


def assert_same(folder, names, alone):
    for name in names:
        assert fingerprint(folder / name) == fingerprint(alone / name), name


def states(folder, names):
    return [RunFolder(folder / name).state().state for name in names]


@pytest.fixture
def trunk_passes(monkeypatch):
    """One entry per pass through the frozen trunk in training."""
    passes, features = [], Feed.features
    monkeypatch.setattr(Feed, "features", lambda self, *given: passes.append(self.epoch) or features(self, *given))
    return passes


@pytest.mark.parametrize("names", [RESAMPLED, EVERY_IMAGE])
def test_a_cohort_has_the_bits_of_separate_training(names, dataset, tmp_path, trunk_passes):
    """Dropout is on, so the members' random states matter; the trunk is passed once per step, not once per member."""
    train_alone(names, tmp_path / "alone")
    alone = len(trunk_passes)
    assert run_cohort(job_of(names, tmp_path / "together"))
    assert len(trunk_passes) - alone == alone / len(names)
    assert_same(tmp_path / "together", names, tmp_path / "alone")
    assert len({fingerprint(tmp_path / "alone" / name)[0] for name in names}) == len(names)


def test_members_of_a_cohort_have_optimisers_of_their_own(dataset, tmp_path):
    """As methods have that were tuned: with the bits of separate training, warm-up, decay and clipping included."""
    own = {"learning_rate": 0.07, "momentum": 0.5, "weight_decay": 0.01, "clip_norm": 0.5}
    own |= {"warmup_iterations": 2, "warmup_ratio": 0.1, "decay_factor": 0.3}
    names, settings = ("erm", "focal"), {"plain": EPOCHS, "recipes": {"focal": own}}
    for job in cohort_job(names, tmp_path / "alone", **settings).one_by_one():
        assert run_cohort(job)
    assert run_cohort(cohort_job(names, tmp_path / "together", **settings))
    assert_same(tmp_path / "together", names, tmp_path / "alone")
    rates = [RunFolder(tmp_path / "together" / name).entries()[1].metrics["train/learning_rate"] for name in names]
    assert rates[0] != rates[1]


def test_what_agrees_in_all_but_loss_and_head_is_a_cohort():
    keys = {name: cohort_key(tiny_experiment(get_method(name))) for name in (*RESAMPLED, *EVERY_IMAGE)}
    assert len({keys[name] for name in RESAMPLED}) == len({keys[name] for name in EVERY_IMAGE}) == 1
    others = [
        tiny_experiment(get_method("rs"), seed=1),
        tiny_experiment(get_method("rs"), batch_size=9),
        replace(tiny_experiment(get_method("rs")), weights_digest="random"),
    ]
    assert len({keys["erm"], keys["rs"], *map(cohort_key, others)}) == 5


def test_a_member_that_fails_leaves_the_others_alone(dataset, plugin, tmp_path):
    names = ("fails", "rs", "diverges", "r-bce")
    plugin("fails", FAILS)
    plugin("diverges", 'return logits.sum() * float("nan")')
    assert not run_cohort(job_of(names, tmp_path / "together"))
    assert states(tmp_path / "together", names) == ["failed", "finished", "failed", "finished"]
    ends = {name: read_journal(tmp_path / "together" / name)[-1] for name in ("fails", "diverges")}
    assert ends["fails"].details["reason"] == "RuntimeError: in a mood"
    assert ends["diverges"].details["reason"].startswith("DivergedError: the loss was not finite at step 0")
    train_alone(("rs", "r-bce"), tmp_path / "alone")
    assert_same(tmp_path / "together", ("rs", "r-bce"), tmp_path / "alone")


@pytest.fixture
def signals(monkeypatch):
    """Send this process signals in the middle of a step: when two of three members have learnt from the third batch."""

    def sending(*numbers):
        calls, learn = [], Learner.learn

        def signalled(self, batch):
            calls.append(1)
            if len(calls) == 8:
                for number in numbers:
                    os.kill(os.getpid(), number)
            learn(self, batch)

        monkeypatch.setattr(Learner, "learn", signalled)

    return sending


def test_an_interrupted_cohort_resumes_together_from_its_checkpoints(dataset, tmp_path, signals, trunk_passes):
    job, before = job_of(RESAMPLED, tmp_path / "together"), torch.get_rng_state()
    signals(signal.SIGTERM)
    with pytest.raises(Interrupted):
        run_cohort(job)
    assert torch.equal(torch.get_rng_state(), before)
    assert states(tmp_path / "together", RESAMPLED) == ["interrupted"] * 3
    steps = {RunFolder(tmp_path / "together" / name).state().step for name in RESAMPLED}
    assert steps == {3}, "every member has ended the step"
    assert run_cohort(job)
    together = len(trunk_passes)
    train_alone(RESAMPLED, tmp_path / "alone")
    assert together == (len(trunk_passes) - together) / 3, "no step was taken twice, nor by one alone"
    assert_same(tmp_path / "together", RESAMPLED, tmp_path / "alone")


def test_members_with_checkpoints_of_different_steps_begin_where_all_have_been(dataset, tmp_path, trunk_passes):
    """Killed while checkpoints are written, some have the new one already; a member that is new begins alone."""
    job = job_of(RESAMPLED[:2], tmp_path / "killed", checkpoint_seconds=0.0)
    assert in_child(steps_and_kill, job, 8) == KILLED
    trunk_passes.clear()
    second = tmp_path / "killed" / RESAMPLED[1]
    (second / "checkpoint.previous.mlt").replace(second / "checkpoint.mlt")
    assert run_cohort(job_of(RESAMPLED, tmp_path / "killed"))
    resumed = [e for name in RESAMPLED for e in read_journal(tmp_path / "killed" / name) if e.event == "resumed"]
    assert [entry.details["steps"] for entry in resumed] == [3, 3]
    together = len(trunk_passes)
    train_alone(RESAMPLED, tmp_path / "alone")
    assert together == 3 + 6, "two that resume at step 3 of 6, and one from the beginning"
    assert_same(tmp_path / "killed", RESAMPLED, tmp_path / "alone")


def test_a_second_ctrl_c_stops_all_members_at_once(dataset, tmp_path, signals):
    job = job_of(RESAMPLED, tmp_path)
    signals(signal.SIGINT, signal.SIGINT)
    with pytest.raises(Interrupted):
        run_cohort(job)
    assert states(tmp_path, RESAMPLED) == ["interrupted"] * 3
    assert run_cohort(job)


def test_what_another_process_runs_is_left_to_it(dataset, tmp_path):
    with RunFolder(tmp_path / "rs").hold():
        assert not run_cohort(job_of(RESAMPLED, tmp_path))
        assert states(tmp_path, RESAMPLED) == [State.RUNNING, State.FINISHED, State.FINISHED]
    assert states(tmp_path, ["rs"]) == [State.PENDING]


def test_cohorts_leave_no_worker_without_any(tmp_path):
    def largest(experiments, **settings):
        return RunSettings(data_root=tmp_path, **settings).largest_cohort(experiments)

    assert largest(1000, workers=1) == LARGEST_COHORT
    assert largest(5, workers=2) == 3
    assert largest(3, workers=4) == 1
    assert largest(5, workers=1, executor="ray") == 5
    assert largest(5, workers=1, cohort=False) == 1


@pytest.mark.parametrize("executor", ["here", "local"])
def test_a_plan_is_run_in_cohorts(executor, store, data_root, settings, trunk_passes):
    names = ("rs", "r-bce", "erm")
    small = ("recipe.image_size=16", "recipe.neck_width=8", "method.images_per_visit=3")
    plan = make_plan(data_root, names, overrides=(*QUICK, *small))
    ended = []
    summary = run_plan(plan, store, replace(settings, executor=executor), on_end=ended.append)
    for experiments in (summary.trained, ended):
        assert {planned.experiment.method.name for planned in experiments} == set(names)
    assert {run.data.tags["mltbench.method"] for run in store.runs_of()} == set(names)
    if executor == "here":
        steps = sum(-(-planned.images // 32) for planned in plan.experiments if planned.title != "R-BCE")
        assert len(trunk_passes) == pytest.approx(steps, abs=1), "rs and r-bce share, erm does not"
