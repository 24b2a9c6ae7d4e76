"""The tutorial, from its beginning to its end, as somebody who follows it does: every file, every command."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import call
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.executors.settings import RunSettings
from mltbench.benchmark.experiments.recipe import RECIPES, Schedule
from product import ROOT
from shown_commands import blocks_of, commands_of
from small_world import require

pytestmark = pytest.mark.usefixtures("own_folder", "own_registrations")
GUIDE = ROOT / "reports" / "TUTORIAL.md"


def shape(line):
    """A line without its numbers and spaces."""
    return re.sub(r"[\d.,]+", "#", "".join(line.split()))


def test_the_tutorial_runs_and_prints_what_it_shows(monkeypatch, tmp_path):
    monkeypatch.setenv("MLTBENCH_DATA", str(tmp_path / "data"))
    # One epoch instead of 26 and 8: what is printed has the same shape.
    short = Schedule(epochs=1, decay_after=())
    monkeypatch.setitem(RECIPES, "digits", replace(RECIPES["digits"], plain=short, resampled=short))
    # Workers would import torch for every command; tests/benchmark/executors starts them.
    monkeypatch.setattr(RunSettings, "make_executor", lambda settings: InProcess())
    printed = ""
    for language, text, first in blocks_of(GUIDE):
        if language == "python":
            printed += run_python(text)
        elif language == "sh":
            printed += "".join(
                run(command) for command in commands_of(GUIDE) if first <= command.line < first + text.count("\n")
            )
        else:
            shown = printed if language == "text" else Path("labels.csv").read_text()
            assert {shape(line) for line in text.splitlines()} <= {shape(line) for line in shown.splitlines()}
    assert Path("my-digits.png").exists()
    report = Path("mltbench-results/report")
    table = (report / "table1-my-digits.md").read_text()
    assert all(
        len(re.findall(rf"^\| {title} \|.*±.*±.*±.*±", table, re.MULTILINE)) == 1 for title in ("ERM", "RS", "DB")
    )
    assert re.search(r"^\| asymmetric \|.*±", table, re.MULTILINE | re.IGNORECASE)
    assert list((report / "figures" / "my-digits").glob("*.svg"))


def run_python(text):
    """Save the file that the first line names; run it unless it is a plug-in, in a Python of its own."""
    name = re.match(r"# (\S+\.py)\n", text)
    path = Path(name.group(1) if name else "cell.py")
    path.write_text(text)
    if "register_loss" in text:
        return ""
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(command):
    words = command.words[1:]
    if "RUN" in words:
        (row, *_) = json.loads(require(call("runs", "list", "--method", "db", "--json")))
        words = [row["experiment"][:8] if word == "RUN" else word for word in words]
    return require(call(*words))
