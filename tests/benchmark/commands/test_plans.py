"""What a plan says while it is trained."""

import json
import re
import time
from types import SimpleNamespace

import pytest
from mltbench.benchmark.commands import plans
from mltbench.benchmark.commands.plans import PlanProgress, train_plan
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.runs.folder import HEARTBEAT_NAME, RunFolder
from mltbench.benchmark.training.graph import Graphs
from plans import tiny_plan

STEPS = "was trained step by step instead of as a CUDA graph, which is slower: the loss waits"
KERNELS = "was trained without fused kernels, which is slower: no C compiler"


@pytest.mark.parametrize(
    ("kind", "reason", "line"), [("not_graphed", "the loss waits", STEPS), ("not_fused", "no C compiler", KERNELS)]
)
def test_it_says_once_why_a_gpu_is_slower_than_it_could_be(
    kind, reason, line, dataset, store, settings, monkeypatch, capsys
):
    monkeypatch.setattr(Graphs, "slower_because", lambda graphs, size: {kind: reason})
    assert not train_plan(tiny_plan(("erm", "focal")), store, settings, InProcess())
    printed = capsys.readouterr().out
    assert printed.count(line) == 1
    assert f"ERM {line}" in printed or f"Focal {line}" in printed


def test_a_log_file_gets_lines_instead_of_a_bar(dataset, store, settings, monkeypatch, capsys):
    monkeypatch.setattr(plans, "LOG_SECONDS", 0.01)
    assert not train_plan(tiny_plan(("erm", "focal")), store, settings, InProcess())
    lines = re.findall(r"^\d of 2 experiments, .*$", capsys.readouterr().out, re.MULTILINE)
    assert lines
    counted = re.compile(r"\d of 2 experiments, \d+ of 36 images, \d[\d,]* images/s(, about \d+ seconds left)?(; .*)?")
    assert [line for line in lines if not counted.fullmatch(line)] == []


def test_the_time_that_is_left_does_not_count_the_start(dataset, monkeypatch, tmp_path, capsys):
    """20 images in the first half minute, then 120 in each."""
    progress = PlanProgress(tiny_plan(("erm", "focal")).experiments, tmp_path)
    seen, clock, waits = iter([0, 0, 20, 140, 260]), iter([0, 30, 60, 90, 120]), iter([False] * 4 + [True])
    progress.images = 500
    monkeypatch.setattr(progress, "look", lambda: (next(seen), ""))
    monkeypatch.setattr(progress, "_closed", SimpleNamespace(wait=lambda seconds: next(waits)))
    monkeypatch.setattr(plans, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    progress._log()
    assert capsys.readouterr().out.splitlines() == [
        "0 of 2 experiments, 0 of 500 images, 0 images/s",
        "0 of 2 experiments, 20 of 500 images, 0 images/s",
        "0 of 2 experiments, 140 of 500 images, 4 images/s, about 2 minutes left",
        "0 of 2 experiments, 260 of 500 images, 4 images/s, about 60 seconds left",
    ]


def test_what_begins_anew_has_no_negative_speed(dataset, monkeypatch, tmp_path, capsys):
    """The journal of an interrupted run counts until it is cleared."""
    monkeypatch.setattr(plans, "LOG_SECONDS", 0.02)
    (planned,) = tiny_plan().experiments
    folder = RunFolder(tmp_path / planned.experiment.id)
    folder.path.mkdir()
    folder.journal.append("epoch", step=1, metrics={"train/loss": 0.25}, images=18)
    with PlanProgress([planned], tmp_path):
        time.sleep(0.1)
        folder.clear()
        time.sleep(0.1)
    printed = capsys.readouterr().out
    assert "18 of 18 images" in printed
    assert "0 of 18 images, 0 images/s\n" in printed
    assert "-" not in printed


def test_progress_counts_the_steps_of_an_epoch_under_way(dataset, tmp_path):
    overrides = ("recipe.plain.epochs=3", "recipe.resampled.epochs=3", "recipe.batch_size=6")
    one, other, apart = tiny_plan(("erm", "focal", "rs"), overrides=overrides).experiments
    progress, folder = PlanProgress([one, other, apart], tmp_path), RunFolder(tmp_path / one.experiment.id)

    def beats(planned=one, **more):
        beat = {"host": "here", "pid": 1, "time": time.time(), **more}
        (tmp_path / planned.experiment.id).mkdir(exist_ok=True)
        (tmp_path / planned.experiment.id / HEARTBEAT_NAME).write_text(json.dumps(beat))

    assert progress.look() == (0, "")
    beats(steps=2)
    assert progress.look() == (12, "ERM: epoch 1 of 3")
    folder.journal.append("epoch", step=1, metrics={"train/loss": 0.25}, images=18)
    beats(steps=4)
    assert progress.look() == (24, "ERM: epoch 2 of 3, loss 0.25")
    beats(other, steps=1)
    beats(apart, steps=1)
    assert progress.look() == (36, "ERM: epoch 2 of 3, loss 0.25; Focal and 1 more: epoch 1 of 3")
    for planned in (one, other, apart):
        beats(planned, steps=1, time=time.time() - 3600)
    assert progress.look() == (18, ""), "its process has died"
