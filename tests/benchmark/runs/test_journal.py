"""What a journal keeps; that a line which a crash cut short is none: `test_folder.py`."""

import json
import os

import numpy as np
import pytest
from mltbench.benchmark.runs import journal as journal_module
from mltbench.benchmark.runs.journal import Journal, read_journal


@pytest.fixture
def clock(monkeypatch):
    """Time in nanoseconds, a second and a half further at each question."""
    times = iter(range(2_000_000_000_000_900_000, 2**62, 1_500_000_000))
    monkeypatch.setattr(journal_module.time, "time_ns", lambda: next(times))


def test_a_line_has_event_time_step_metrics_and_details(clock, tmp_path):
    journal = Journal(tmp_path)
    journal.append("start", execution={"device": "cpu"})
    journal.append("epoch", step=3, metrics={"train/loss": 0.5}, images=7)
    assert [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()] == [
        {"event": "start", "time": 2_000_000_000_000, "step": 0, "metrics": {},
         "details": {"execution": {"device": "cpu"}}},
        {"event": "epoch", "time": 2_000_000_001_500, "step": 3, "metrics": {"train/loss": 0.5},
         "details": {"images": 7}},
    ]  # fmt: skip


def test_an_epoch_that_is_trained_again_is_written_once_and_another_epoch_or_event_anew(clock, tmp_path):
    journal = Journal(tmp_path)
    for event, step, value in [("epoch", 1, 0.1), ("epoch", 1, 0.1), ("epoch", 2, 0.1), ("evaluation", 1, 0.1)]:
        journal.append_once(event, step=step, metrics={"a": value}, images=10 * step)
    found = read_journal(tmp_path)
    assert [(entry.event, entry.step) for entry in found] == [("epoch", 1), ("epoch", 2), ("evaluation", 1)]
    assert found[0].time == 2_000_000_000_000
    assert found[0].details == {"images": 10}


@pytest.mark.parametrize(
    ("again", "differ"),
    [
        ({"b": 0.1, "a": float("nan"), "cost/seconds": 2.0}, []),
        ({"b": 0.1, "a": 0.1, "cost/seconds": 1.0}, ["a"]),
        ({"b": np.nextafter(0.1, 1), "a": 0.2}, ["a", "b"]),
        ({"a": float("nan")}, ["b"]),
        ({"b": 0.1, "a": float("nan"), "c": 0.0}, ["c"]),
    ],
)
def test_numbers_that_are_not_the_same_to_the_bit_are_named(again, differ, tmp_path):
    journal = Journal(tmp_path)
    journal.append_once("epoch", step=4, metrics={"b": 0.1, "a": float("nan"), "cost/seconds": 1.0})
    journal.append_once("epoch", step=4, metrics=again)
    first, *others = read_journal(tmp_path)
    assert first.metrics["b"] == 0.1
    details = [(entry.event, entry.step, entry.details) for entry in others]
    assert details == [("not repeated", 4, {"of": "epoch", "metrics_that_differ": differ})] * bool(differ)


def test_only_durable_entries_wait_for_the_disk(monkeypatch, tmp_path):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(journal_module.os, "fsync", lambda file: synced.append(os.fstat(file).st_size) or fsync(file))
    journal = Journal(tmp_path)
    journal.append("start", durable=True)
    size = (tmp_path / "journal.jsonl").stat().st_size
    assert synced == [size]
    journal.append("epoch")
    journal.append_once("epoch", step=1, metrics={})
    assert synced == [size]
    journal.sync()
    assert synced == [size, (tmp_path / "journal.jsonl").stat().st_size]


def test_lines_after_one_that_is_not_whole_are_not_read_and_are_removed(tmp_path):
    journal, file = Journal(tmp_path), tmp_path / "journal.jsonl"
    journal.append("start")
    journal.append("epoch", step=1)
    first, second = file.read_bytes().splitlines(keepends=True)
    for broken in (b"{}\n", b"[1]\n", b"no json\n", first[:-1] + second[:9] + b"\n"):
        file.write_bytes(first + broken + second)
        assert [entry.event for entry in read_journal(tmp_path)] == ["start"]
    journal.append("failed")
    assert [entry.event for entry in read_journal(tmp_path)] == ["start", "failed"]
    file.write_bytes(first + second)
    assert [entry.event for entry in read_journal(tmp_path)] == ["start", "epoch"]
