import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from mltbench.benchmark.commands.plan_terminal import Engine
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.executors.processes import Processes
from mltbench.benchmark.executors.run_plan import carry_out
from mltbench.benchmark.experiments.plan import build_plan
from mltbench.benchmark.experiments.recipe import Schedule
from mltbench.benchmark.runs.cohort import LARGEST, cohort_key, run_cohort
from mltbench.benchmark.runs.heartbeat import HeldError, hold
from mltbench.benchmark.runs.interruption import Interrupted
from mltbench.benchmark.runs.journal import is_finished, read_journal
from mltbench.benchmark.runs.run import Job, run_job
from mltbench.benchmark.training import shared_trunk
from mltbench.benchmark.training.check import tiny_experiment
from mltbench.benchmark.training.execution import Execution
from mltbench.benchmark.training.trainer import Trainer
from mltbench.datasets.registry import load_dataset
from mltbench.methods import plugins
from mltbench.methods.catalogue import get_method

EPOCHS = Schedule(epochs=3, decay_after=(1,))
RESAMPLED = ("rs", "r-bce", "db-focal")
EVERY_IMAGE = ("erm", "ml-gcn", "focal")

MOODS = """
import mltbench
import torch

@mltbench.register_loss("fails", like="rs")
class Fails(torch.nn.Module):
    def __init__(self, statistics):
        super().__init__()
        self.calls = 0

    def forward(self, logits, labels):
        self.calls += 1
        if self.calls == 3:
            raise RuntimeError("in a mood")
        return logits.sum()

@mltbench.register_loss("diverges", like="rs")
class Diverges(torch.nn.Module):
    def __init__(self, statistics):
        super().__init__()

    def forward(self, logits, labels):
        return logits.sum() * float("nan")
"""


def jobs_of(names, folder, **execution):
    settings = {"plain": EPOCHS, "resampled": EPOCHS, "image_size": 32, "neck_width": 8}
    return [
        Job(
            experiment_json=tiny_experiment(get_method(name), **settings).to_json(),
            folder=str(folder / name),
            data_root="",
            execution=Execution(evaluate_every=1, **execution),
        )
        for name in names
    ]


def results(folder):
    """Everything that a run says of its numbers."""
    weights = torch.load(folder / "weights.pt", weights_only=True)
    with np.load(folder / "test_scores.npz") as arrays:
        scores = arrays["scores"].tobytes()
    metrics = [
        (entry.event, {name: value for name, value in entry.metrics.items() if not name.startswith("cost/")})
        for entry in read_journal(folder)
        if entry.event in ("epoch", "evaluation", "test")
    ]
    flat = json.dumps(weights, default=lambda value: value.tolist() if hasattr(value, "tolist") else str(value))
    return flat, scores, metrics, json.loads((folder / "per_class.json").read_text())["average_precision"]


@pytest.fixture
def trunk_passes(monkeypatch):
    """One entry per pass through the frozen trunk in training."""
    passes, stem = [], Trainer.stem
    monkeypatch.setattr(Trainer, "stem", lambda self, *given: passes.append(self.steps) or stem(self, *given))
    return passes


@pytest.mark.parametrize("names", [RESAMPLED, EVERY_IMAGE])
def test_a_cohort_has_the_bits_of_separate_training(names, dataset, tmp_path, trunk_passes):
    """Dropout is on, so the members' random states matter; the trunk is passed once per step, not once per member."""
    for job in jobs_of(names, tmp_path / "alone"):
        assert run_job(job)
    alone = len(trunk_passes)
    run_cohort(jobs_of(names, tmp_path / "together"))
    assert len(trunk_passes) - alone == alone / len(names)
    for name in names:
        assert results(tmp_path / "together" / name) == results(tmp_path / "alone" / name), name
    assert len({results(tmp_path / "alone" / name)[1] for name in names}) == len(names)


def test_what_agrees_in_all_but_loss_and_head_is_a_cohort():
    keys = {name: cohort_key(tiny_experiment(get_method(name))) for name in (*RESAMPLED, *EVERY_IMAGE)}
    assert len({keys[name] for name in RESAMPLED}) == len({keys[name] for name in EVERY_IMAGE}) == 1
    others = [
        tiny_experiment(get_method("rs"), seed=1),
        tiny_experiment(get_method("rs"), batch_size=9),
        replace(tiny_experiment(get_method("rs")), weights_digest="random"),
    ]
    assert len({keys["erm"], keys["rs"], *map(cohort_key, others)}) == 5


def test_a_member_that_fails_leaves_the_others_alone(dataset, own_registrations, tmp_path):
    file = tmp_path / "moods.py"
    file.write_text(MOODS)
    plugins.load_plugins([str(file)])
    run_cohort(jobs_of(("fails", "rs", "diverges", "r-bce"), tmp_path / "together"))
    ends = {name: read_journal(tmp_path / "together" / name)[-1] for name in ("fails", "diverges")}
    assert ends["fails"].details["reason"] == "RuntimeError: in a mood"
    assert ends["diverges"].details["reason"].startswith("DivergedError: the loss was not finite at step 0")
    for job in jobs_of(("rs", "r-bce"), tmp_path / "alone"):
        assert run_job(job)
    for name in ("rs", "r-bce"):
        assert results(tmp_path / "together" / name) == results(tmp_path / "alone" / name), name


def test_an_interrupted_cohort_goes_on_from_its_members_checkpoints(dataset, tmp_path, monkeypatch, trunk_passes):
    """The signal comes in the middle of a round, so that some members are a step ahead; they come together again."""
    jobs, before = jobs_of(RESAMPLED, tmp_path / "together"), torch.get_rng_state()
    stem = shared_trunk.SharedTrunk.stem
    asked = []

    def signalled(self, *given):
        asked.append(1)
        if len(asked) == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return stem(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(shared_trunk.SharedTrunk, "stem", signalled)
        with pytest.raises(Interrupted):
            run_cohort(jobs)
    assert torch.equal(torch.get_rng_state(), before)
    assert [read_journal(tmp_path / "together" / name)[-1].event for name in RESAMPLED] == ["interrupted"] * 3
    interrupted = len(trunk_passes)
    run_cohort(jobs)
    together = len(trunk_passes)
    for job in jobs_of(RESAMPLED, tmp_path / "alone"):
        assert run_job(job)
    # Apart at first, each member may pass the trunk alone once more; then they share it again.
    alone = (len(trunk_passes) - together) / len(RESAMPLED)
    assert together - interrupted <= alone - interrupted + 2 * len(RESAMPLED) - 2
    assert trunk_passes[interrupted:together].count(alone - 1) == 1
    for name in RESAMPLED:
        assert results(tmp_path / "together" / name) == results(tmp_path / "alone" / name), name


def test_a_second_ctrl_c_stops_all_members_at_once(dataset, tmp_path, monkeypatch):
    jobs, stem = jobs_of(RESAMPLED, tmp_path), shared_trunk.SharedTrunk.stem
    asked = []

    def signalled(self, *given):
        asked.append(1)
        if len(asked) == 8:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
        return stem(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(shared_trunk.SharedTrunk, "stem", signalled)
        with pytest.raises(Interrupted):
            run_cohort(jobs)
    assert len(asked) == 8
    assert [read_journal(tmp_path / name)[-1].event for name in RESAMPLED].count("interrupted") == 1
    run_cohort(jobs)
    assert all(is_finished(tmp_path / name) for name in RESAMPLED)


def test_a_member_that_somebody_else_runs_is_told_when_the_others_have_ended(dataset, tmp_path):
    with hold(tmp_path / "rs"), pytest.raises(HeldError, match="rs is being run by process"):
        run_cohort(jobs_of(RESAMPLED, tmp_path))
    assert [is_finished(tmp_path / name) for name in RESAMPLED] == [False, True, True]


def test_cohorts_leave_no_worker_without_any():
    assert Engine(workers=1).largest_cohort(1000) == LARGEST
    assert Engine(workers=2).largest_cohort(5) == 3
    assert Engine(workers=4).largest_cohort(3) == 1
    assert Engine(workers=1, cohort=False).largest_cohort(5) == 1
    assert Engine(workers=1, executor_name="ray").largest_cohort(5) == 1


@pytest.mark.parametrize("executor", [InProcess(), Processes(1)])
def test_a_plan_is_carried_out_in_cohorts(executor, store, data_root, surroundings, trunk_passes):
    names = ("rs", "r-bce", "erm")
    quick = ("recipe.plain.epochs=1", "recipe.resampled.epochs=1", "recipe.image_size=16", "recipe.neck_width=8")
    plan = build_plan(load_dataset("digits-mlt", data_root=data_root), names, overrides=quick, seeds=[0])
    ended = []
    summary = carry_out(
        plan, store, executor, replace(surroundings, largest_cohort=16), on_end=lambda p: ended.append(p)
    )
    assert (
        {planned.experiment.method.name for planned in summary.trained}
        == set(names)
        == {planned.experiment.method.name for planned in ended}
    )
    assert {run.data.tags["mltbench.method"] for run in store.runs_of()} == set(names)
    if isinstance(executor, InProcess):
        assert sorted(trunk_passes) != list(range(len(trunk_passes)))
        assert max(trunk_passes.count(step) for step in set(trunk_passes)) == 2, "rs and r-bce share, erm does not"
