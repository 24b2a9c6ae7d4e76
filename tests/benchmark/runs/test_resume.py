import errno
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from crashes import KILLED, TROUBLE, Events, in_child, in_folder, resumed, run_killed, small_job, steps_and_kill
from mltbench import files
from mltbench.benchmark.runs.folder import RunFolder, State
from mltbench.benchmark.runs.interruption import Interrupted
from mltbench.benchmark.runs.journal import Journal, read_journal
from mltbench.benchmark.runs.run import run_cohort
from mltbench.benchmark.runs.verification import compare_runs, train_again, verification_job
from mltbench.benchmark.training import checkpoint
from mltbench.benchmark.training.checkpoint import DamagedCheckpointError, read_checkpoint, write_checkpoint
from mltbench.benchmark.training.execution import ExecutionChangedError
from mltbench.benchmark.training.learner import Learner
from mltbench.errors import InputError
from mltbench.files import DiskFullError, write_durably

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
FULL_DISK = 7


@pytest.fixture
def killed(dataset, tmp_path):
    """A job that was killed before its fifth step, in the middle of its second epoch; two checkpoints are there."""
    job = small_job(tmp_path / "run")
    assert in_child(steps_and_kill, job, 4) == KILLED
    return job


@pytest.fixture
def expected(dataset, tmp_path_factory):
    """What that job comes to when nothing kills it."""
    return uninterrupted(tmp_path_factory.getbasetemp())


@cache
def uninterrupted(folder):
    return resumed(small_job(folder / "whole"))


def test_a_run_goes_on_in_the_middle_of_an_epoch(killed, expected, tmp_path):
    found = RunFolder(tmp_path / "run").state()
    assert (found.state, found.epoch) == (State.INTERRUPTED, 1)
    assert resumed(killed) == expected
    entries = [entry for entry in read_journal(tmp_path / "run") if entry.event == "resumed"]
    assert [(entry.step, entry.details["steps"]) for entry in entries] == [(1, 4)]
    assert not list((tmp_path / "run").glob("checkpoint*"))
    assert RunFolder(tmp_path / "run").state().state == State.FINISHED


def test_epochs_that_are_trained_again_keep_their_first_entries(dataset, expected, tmp_path):
    job = small_job(tmp_path / "run")
    assert in_child(steps_and_kill, job, 2) == KILLED
    early = [(tmp_path / "run" / name).read_bytes() for name in ("checkpoint.mlt", "checkpoint.previous.mlt")]
    assert in_child(steps_and_kill, job, 3) == KILLED
    before = [entry for entry in read_journal(tmp_path / "run") if entry.event == "epoch"]
    assert len(before) == 1
    for name, content in zip(("checkpoint.mlt", "checkpoint.previous.mlt"), early, strict=True):
        (tmp_path / "run" / name).write_bytes(content)
    assert resumed(job) == expected
    after = [entry for entry in read_journal(tmp_path / "run") if entry.event == "epoch"]
    assert [entry.step for entry in after] == [1, 2]
    assert after[0] == before[0], "the point has its first time: MLflow would take another one for a second point"


def test_other_bits_are_reported(tmp_path):
    journal = Journal(tmp_path)
    for value in (0.1, 0.1, 0.1 + 1e-18, np.nextafter(0.1, 1)):
        journal.append_once("epoch", step=1, metrics={"train/loss": value, "cost/seconds": value})
    entries = read_journal(tmp_path)
    assert [entry.event for entry in entries] == ["epoch", "not repeated"]
    assert entries[1].details == {"of": "epoch", "metrics_that_differ": ["train/loss"]}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_step_and_leaves_a_checkpoint(number, status, dataset, expected, tmp_path):
    job = small_job(tmp_path / "run", checkpoint_seconds=60.0)

    def signalled():
        def step(self, *arguments):
            if self.steps == 3:
                os.kill(os.getpid(), number)
            return original(self, *arguments)

        original, Learner.step = Learner.step, step
        try:
            run_cohort(job)
        except Interrupted as stop:
            os._exit(stop.exit_status)

    assert in_child(signalled) == status
    last = read_journal(tmp_path / "run")[-1]
    assert (last.event, last.details["steps"]) == ("interrupted", 4)
    assert last.details["reason"] == f"signal {signal.Signals(number).name}"
    assert resumed(job) == expected


class TwoSignals(Events):
    """Lets Ctrl-C come twice at one event."""

    def happens(self, name):
        if len(self.seen) == self.kill_at:
            self.kill_at = None
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        self.seen.append(name)


def interrupted_twice(job, point):
    events = TwoSignals(point)
    events.everywhere()
    try:
        run_cohort(job)
    except KeyboardInterrupt:
        os._exit(130)


def test_a_second_ctrl_c_ends_at_once_and_harms_nothing(dataset, expected, tmp_path):
    """At every tenth event of a run: in a step, half way through a checkpoint or a line, before and after renaming."""
    assert in_child(run_killed, small_job(tmp_path / "counted"), None) == 0
    number = len((tmp_path / "counted.events").read_text().splitlines())
    assert number > 100
    for point in range(0, number, 10):
        job = small_job(tmp_path / str(point))
        assert in_child(interrupted_twice, job, point) == 130, point
        state = RunFolder(job.members[0].folder).state().state
        assert state in (State.INTERRUPTED, State.PENDING, State.FINISHED), point
        assert resumed(job) == expected, point


@pytest.mark.parametrize("change", [{"threads": 2}, {"device": "cuda"}])
def test_another_execution_is_refused_and_nothing_is_lost(change, killed, tmp_path):
    for path in (tmp_path / "run").glob("checkpoint*"):
        header, _, payload = path.read_bytes().split(b"\n", 2)[2].partition(b"\n")
        body = json.dumps({**json.loads(header), **change}).encode() + b"\n" + payload
        path.write_bytes(b"mltbench checkpoint 1\n" + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("[cj]*")}
    with pytest.raises(ExecutionChangedError, match=r"would not give the same bits.*--restart"):
        run_cohort(killed)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").glob("[cj]*")} == before
    assert run_cohort(replace(killed, restart=True))


def test_a_loss_that_was_not_finite_before_the_kill_fails_the_run_after_it(dataset, tmp_path):
    job = small_job(tmp_path / "run")

    def diverging(kill):
        def step(self, *arguments):
            loss = original(self, *arguments)
            return loss * float("nan") if self.steps == 1 else loss

        original, Learner.step = Learner.step, step
        if kill:
            steps_and_kill(job, 2)
        run_cohort(job)

    assert in_child(diverging, True) == KILLED
    assert in_child(run_cohort, job) == 0
    found = RunFolder(tmp_path / "run").state()
    assert (found.state, found.step) == (State.FAILED, 1)
    assert "not finite at step 1 (epoch 1); its images: train-" in found.reason
    assert not list((tmp_path / "run").glob("checkpoint*")), "failures are never cached"


def flipped(content, bit):
    return content[: bit // 8] + bytes([content[bit // 8] ^ (1 << bit % 8)]) + content[bit // 8 + 1 :]


def damages(content, lengths, flips):
    """Damaged copies of a file, by what was done to it."""
    yield from ((f"cut to {length}", content[:length]) for length in lengths)
    bits = random.Random(6).sample(range(8 * len(content)), flips)
    yield from ((f"bit {bit}", flipped(content, bit)) for bit in bits)


def small_header(steps):
    machine = {"device": "cpu", "threads": 1, "machine": "a machine"}
    return checkpoint.Header(experiment="0123", attempt=7, epochs=0, steps=steps, **machine)


def checkpoints_of(folder, experiment="0123", attempt=7):
    return checkpoint.whole_checkpoints(folder, experiment, attempt=attempt, epochs=set())


def test_every_truncation_and_500_flips_of_a_checkpoint_are_noticed(tmp_path):
    for steps in (1, 2):
        write_checkpoint(tmp_path, small_header(steps), {"weights": torch.arange(8.0), "steps": steps})
    assert [found.states()["steps"] for found in checkpoints_of(tmp_path)] == [2, 1]
    path = tmp_path / "checkpoint.mlt"
    content, number = path.read_bytes(), 0
    for what, damaged in damages(content, range(len(content)), 500):
        path.write_bytes(damaged)
        with pytest.raises(DamagedCheckpointError):
            read_checkpoint(path)
        assert [(found.header.steps, found.states()["steps"]) for found in checkpoints_of(tmp_path)] == [(1, 1)], what
        number += 1
    assert number == len(content) + 500


@pytest.mark.parametrize("number", [2, pytest.param(20, marks=pytest.mark.soak)])
def test_damaged_checkpoints_resume_from_the_previous_one(number, killed, expected, tmp_path):
    """Damage the newest checkpoint in so many ways, half of them cuts; each resumes to what it would have been."""
    content = (tmp_path / "run" / "checkpoint.mlt").read_bytes()
    lengths = random.Random(7).sample(range(len(content)), number // 2)
    for i, (what, damaged) in enumerate(damages(content, lengths, number // 2)):
        copy = tmp_path / f"copy-{i}"
        shutil.copytree(tmp_path / "run", copy)
        (copy / "checkpoint.mlt").write_bytes(damaged)
        assert resumed(in_folder(killed, copy)) == expected, what
        steps = [entry.details["steps"] for entry in read_journal(copy) if entry.event == "resumed"]
        assert steps == [3], "the previous checkpoint was used"


def test_without_a_whole_checkpoint_it_starts_anew(killed, expected, tmp_path):
    for path in (tmp_path / "run").glob("checkpoint*"):
        path.write_bytes(path.read_bytes()[:-1])
    assert resumed(killed) == expected
    assert [entry.event for entry in read_journal(tmp_path / "run")][:2] == ["start", "epoch"]


def limited(job, room):
    """Run a job whose files may grow to `room` bytes; end as the command line does when the disk is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    try:
        run_cohort(job)
    except DiskFullError as error:
        os._exit(FULL_DISK if "no room left" in str(error) and "resumes from there" in str(error) else TROUBLE)


@pytest.mark.parametrize("file", ["checkpoint", "journal"])
def test_a_file_that_finds_no_room_loses_nothing(file, killed, expected, tmp_path):
    folder, job, room = tmp_path / "run", killed, 50_000
    if file == "journal":
        room = (folder / "journal.jsonl").stat().st_size + 40
        job = replace(killed, execution=replace(killed.execution, checkpoint_seconds=60))
    before = {path.name: path.read_bytes() for path in folder.glob("checkpoint*")}
    assert in_child(limited, job, room) == FULL_DISK
    assert {path.name: path.read_bytes() for path in folder.glob("checkpoint*")} == before
    assert not list(folder.glob(".*.new")), "what was half written is taken away"
    found = RunFolder(folder).state()
    assert found.state == State.INTERRUPTED
    assert ("no room left" in str(found.reason)) == (file == "checkpoint")
    assert resumed(killed) == expected


def test_every_size_of_a_full_disk_is_survived(dataset, expected, tmp_path):
    size = 1000
    while True:
        job = small_job(tmp_path / str(size))
        status = in_child(limited, job, size)
        if status == 0:
            break
        assert status == FULL_DISK
        assert resumed(job) == expected
        size *= 8
    assert size > 100_000


def test_a_file_is_the_old_one_or_the_new_one(tmp_path, monkeypatch):
    write_durably(tmp_path / "file", b"old")
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        write_durably(tmp_path / "file", b"new", b"er")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


def test_a_finished_run_is_verified(dataset, monkeypatch, tmp_path):
    folder = tmp_path / "runs" / "run"
    assert run_cohort(small_job(folder))
    job = verification_job(RunFolder(folder), tmp_path / "scratch", data_root=Path())
    train_again(job)
    compared = compare_runs(folder, Path(job.members[0].folder))
    assert all(item.same for item in compared)
    what = ["weights", "test scores", "average precision per class", "metrics in the journal"]
    assert [item.what for item in compared] == what
    weights = torch.load(folder / "weights.pt", weights_only=True)
    weights["head.bias"][2] = torch.nextafter(weights["head.bias"][2], torch.tensor(9.0))
    torch.save(weights, folder / "weights.pt")
    other = [item for item in compare_runs(folder, Path(job.members[0].folder)) if not item.same]
    assert [item.what for item in other] == ["weights"]
    assert other[0].detail.startswith(f"1 of {len(weights)} tensors differ, by at most ")
    assert other[0].detail.endswith(": head.bias")


def test_only_finished_runs_of_a_cpu_are_verified(killed, tmp_path):
    with pytest.raises(InputError, match="holds no finished run"):
        verification_job(RunFolder(tmp_path / "run"), tmp_path, data_root=Path())
    journal = tmp_path / "run" / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"device": "cpu"', '"device": "cuda"'))
    Journal(tmp_path / "run").append("finished")
    with pytest.raises(InputError, match="trained on cuda"):
        verification_job(RunFolder(tmp_path / "run"), tmp_path, data_root=Path())
