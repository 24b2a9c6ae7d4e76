import time

import numpy as np
from mltbench.benchmark.runs.folder import RunFolder
from mltbench.benchmark.runs.journal import Journal, read_journal


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


def test_a_torn_last_line_is_left_out(tmp_path):
    journal = Journal(tmp_path)
    journal.append("start")
    journal.append("finished")
    assert RunFolder(tmp_path).state().is_finished
    file = tmp_path / "journal.jsonl"
    whole = file.read_text()
    for length in range(len(whole.splitlines()[0]) + 1, len(whole)):
        file.write_text(whole[:length])
        assert [entry.event for entry in read_journal(tmp_path)] == ["start"]
        assert not RunFolder(tmp_path).state().is_finished


def test_no_journal_is_an_empty_one(tmp_path):
    assert read_journal(tmp_path / "nowhere") == []


def test_a_journal_goes_on_after_a_torn_line(tmp_path):
    journal = Journal(tmp_path)
    journal.append("start")
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"event": "epo')
    journal.append("failed", reason="the worker process died")
    assert [entry.event for entry in read_journal(tmp_path)] == ["start", "failed"]
