"""The same plan run by several commands at once trains each experiment once."""

import re
import subprocess
import sys
from collections import Counter

import pytest
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.tracking.store import open_store
from plans import numbers

RUN = [sys.executable, "-m", "mltbench", "run", "--recipe", "digits-smoke", "--workers"]


def both(words, out, data_root):
    """Start the same command twice; return what both printed."""
    return together([[*RUN, n, *words, "--out", out, "--data-root", data_root] for n in ("1", "2")])


def together(commands):
    """Start all commands, which must end well; return what they printed."""
    running = [
        subprocess.Popen(list(map(str, c)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for c in commands
    ]
    shown = [process.communicate(timeout=500)[0] for process in running]
    assert not any(process.returncode for process in running), shown
    return shown


def check_once(shown, store, number):
    trained = [int(re.search(r"trained (\d+)", text)[1]) for text in shown]
    assert sum(trained) == number
    runs = store.runs_of()
    assert Counter(run.info.status for run in runs) == {"FINISHED": number}
    assert len({run.data.tags["mltbench.experiment_id"] for run in runs}) == number
    for run in runs:
        events = Counter(e.event for e in read_journal(store.runs / run.data.tags["mltbench.experiment_id"]))
        assert events["finished"] == events["start"] == 1


@pytest.mark.soak
def test_two_commands_share_a_plan(tmp_path, data_root):
    shown = both(["--method", "erm", "--method", "db", "--seeds", "2"], tmp_path / "out", data_root)
    check_once(shown, open_store(tmp_path / "out"), 4)


@pytest.mark.soak
def test_two_commands_share_both_tables(tmp_path, data_root):
    """Fourteen experiments by two commands; the table is that of one command alone."""
    words = ["--table", "1", "--table", "2"]
    shown = both(words, tmp_path / "out", data_root)
    check_once(shown, open_store(tmp_path / "out"), 14)
    alone = [*RUN, "1", *words, "--out", tmp_path / "alone", "--data-root", data_root]
    subprocess.run(list(map(str, alone)), check=True, capture_output=True, timeout=500)
    assert numbers(open_store(tmp_path / "out")) == numbers(open_store(tmp_path / "alone"))
