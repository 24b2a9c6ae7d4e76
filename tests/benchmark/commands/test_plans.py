"""What a plan says while it is trained."""

import pytest
from mltbench.benchmark.commands.plans import train_plan
from mltbench.benchmark.executors.in_process import InProcess
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
