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


@pytest.mark.soak
def test_two_commands_share_both_tables(tmp_path, data_root):
    """Fourteen experiments by two commands; the table is that of one command alone."""

    def command(workers, out):
        words = ["--table", "1", "--table", "2", "--out", tmp_path / out, "--data-root", data_root]
        return list(map(str, [*RUN, workers, *words]))

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    running = [subprocess.Popen(command(workers, "out"), **pipes) for workers in (1, 2)]
    shown = [process.communicate(timeout=500)[0] for process in running]
    assert not any(process.returncode for process in running), shown
    assert sum(int(re.search(r"trained (\d+)", text)[1]) for text in shown) == 14
    store = open_store(tmp_path / "out")
    runs = store.runs_of()
    assert Counter(run.info.status for run in runs) == {"FINISHED": 14}
    assert len({run.data.tags["mltbench.experiment_id"] for run in runs}) == 14
    for run in runs:
        events = Counter(e.event for e in read_journal(store.runs / run.data.tags["mltbench.experiment_id"]))
        assert events["finished"] == events["start"] == 1
    subprocess.run(command(1, "alone"), check=True, capture_output=True, timeout=500)
    assert numbers(store) == numbers(open_store(tmp_path / "alone"))
