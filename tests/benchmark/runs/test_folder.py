import json
import multiprocessing
import os
import signal
import socket
import time

import numpy as np
import pytest
from mltbench.benchmark.runs import folder as folder_module
from mltbench.benchmark.runs.folder import HeldError, RunFolder, State
from mltbench.benchmark.runs.journal import Journal, read_journal


def hold_forever(folder, ready):
    with RunFolder(folder).hold() as heartbeat:
        heartbeat.steps = 7
        Journal(folder).append("start")
        ready.set()
        time.sleep(100)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=hold_forever, args=(tmp_path, ready))
    process.start()
    assert ready.wait(20)
    yield process
    process.kill()
    process.join()


def test_a_folder_without_journal_is_pending(tmp_path):
    assert RunFolder(tmp_path / "nowhere").state().state == State.PENDING
    assert read_journal(tmp_path / "nowhere") == []
    assert not (tmp_path / "nowhere").exists(), "asking leaves nothing behind"


@pytest.mark.parametrize("event", ["finished", "failed", "stopped"])
def test_the_last_word_of_a_journal_is_the_state(event, tmp_path):
    journal = Journal(tmp_path)
    journal.append("start")
    journal.append("epoch", step=2)
    journal.append(event, step=2, steps=11, reason="of its own")
    found = RunFolder(tmp_path).state()
    assert (found.state, found.epoch) == (event, 2)
    if event != "finished":
        assert (found.step, found.reason) == (11, "of its own")


@pytest.mark.parametrize("last", ["start", "epoch", "resumed", "interrupted", "evaluation", "test"])
def test_what_began_and_did_not_end_is_interrupted(last, tmp_path):
    Journal(tmp_path).append("start")
    Journal(tmp_path).append(last, step=1)
    assert RunFolder(tmp_path).state().state == State.INTERRUPTED


def test_what_is_held_is_running_until_its_holder_is_killed(holder, tmp_path, monkeypatch):
    monkeypatch.setattr(folder_module, "PATIENCE_SECONDS", 0.1)
    found = RunFolder(tmp_path).state()
    assert (found.state, found.heartbeat.pid) == (State.RUNNING, holder.pid)
    refused = pytest.raises(HeldError, match=f"{tmp_path.name} is being run by process {holder.pid} on ")
    with refused, RunFolder(tmp_path).hold():
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert RunFolder(tmp_path).state().state == State.INTERRUPTED
    with RunFolder(tmp_path).hold():
        assert RunFolder(tmp_path).state().state == State.RUNNING
    assert RunFolder(tmp_path).state().state == State.INTERRUPTED


def test_a_sign_of_life_comes_at_once_and_goes_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_module, "BEAT_SECONDS", 0.01)
    with RunFolder(tmp_path).hold() as heartbeat:
        heartbeat.steps = 5
        deadline = time.time() + 20
        while (beat := RunFolder(tmp_path).state().heartbeat) is None or beat.steps != 5:
            assert time.time() < deadline
            time.sleep(0.01)
        assert (beat.host, beat.pid) == (socket.gethostname(), os.getpid())
        assert beat.age < 20
    assert RunFolder(tmp_path).state().heartbeat is None


@pytest.mark.parametrize(
    ("host", "age", "state"),
    [("elsewhere", 5, "running"), ("elsewhere", 100, "interrupted"), (socket.gethostname(), 5, "interrupted")],
)
def test_another_machine_is_believed_by_its_heartbeat(host, age, state, tmp_path):
    Journal(tmp_path).append("start")
    beat = {"host": host, "pid": 1, "time": time.time() - age, "steps": 3}
    (tmp_path / "heartbeat.json").write_text(json.dumps(beat))
    assert RunFolder(tmp_path).state().state == state
    if state == State.RUNNING:
        with pytest.raises(HeldError, match="process 1 on elsewhere"), RunFolder(tmp_path).hold():
            pass


def test_a_damaged_heartbeat_is_none(tmp_path):
    Journal(tmp_path).append("start")
    for text in ("", "{", "[]", '{"host": 1}', '{"other": 1}'):
        (tmp_path / "heartbeat.json").write_text(text)
        assert RunFolder(tmp_path).state().heartbeat is None


def test_a_journal_gives_back_what_was_written(tmp_path):
    before, journal = time.time(), Journal(tmp_path)
    journal.append("start", execution={"device": "cpu"})
    journal.append("epoch", step=3, metrics={"train/loss": 0.1 + 0.2, "train/bad": float("nan")}, images=7)
    start, epoch = read_journal(tmp_path)
    assert (start.event, start.step, start.metrics, start.details) == ("start", 0, {}, {"execution": {"device": "cpu"}})
    assert (epoch.event, epoch.step, epoch.details) == ("epoch", 3, {"images": 7})
    assert epoch.metrics["train/loss"] == 0.1 + 0.2
    assert np.isnan(epoch.metrics["train/bad"])
    assert 1000 * before - 1 <= start.time <= epoch.time <= 1000 * time.time()


def test_a_torn_last_line_is_left_out_and_the_journal_goes_on(tmp_path):
    journal, file = Journal(tmp_path), tmp_path / "journal.jsonl"
    journal.append("start")
    journal.append("finished")
    assert RunFolder(tmp_path).state().is_finished
    whole = file.read_text()
    for length in range(len(whole.splitlines()[0]) + 1, len(whole)):
        file.write_text(whole[:length])
        assert [entry.event for entry in read_journal(tmp_path)] == ["start"]
        assert not RunFolder(tmp_path).state().is_finished
        journal.append("failed", reason="the worker process died")
        assert [entry.event for entry in read_journal(tmp_path)] == ["start", "failed"]
