"""What `mltbench run` does without MLflow and before torch, so that its first step comes soon."""

import json
import shutil
from dataclasses import replace

from crashes import small_job
from mltbench.benchmark.executors.processes import Processes
from mltbench.benchmark.runs.journal import read_journal
from mltbench.methods.plugins import load_plugins
from plans import TINY

# Tells what its process has, from the first step.
TELLING = """
import json
import os
import signal
import sys
from pathlib import Path

import torch
import mltbench

@mltbench.register_loss("telling", like="erm")
class Telling(torch.nn.Module):
    def __init__(self, statistics):
        super().__init__()

    def forward(self, logits, labels):
        blocked = [number.name for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())]
        Path(__file__).with_name("told").write_text(json.dumps([list(sys.modules), os.environ["TOLD"], blocked]))
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
"""


def test_a_worker_imports_nothing_needless_and_takes_the_environment_and_the_signals_of_now(
    own_registrations, tmp_path, monkeypatch
):
    plugin = tmp_path / "telling.py"
    plugin.write_text(TINY + TELLING)
    load_plugins([str(plugin)])
    job = replace(small_job(tmp_path / "run", "telling"), plugins=(str(plugin),))
    for value in ("first", "second"):  # the process that both are forked from was started before the second
        monkeypatch.setenv("TOLD", value)
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        assert list(Processes(1).run([job])) == [job]
        assert read_journal(tmp_path / "run")[-1].event == "finished"
        modules, environment, blocked = json.loads((tmp_path / "told").read_text())
        assert "torch" in modules
        assert {"torch._dynamo", "torchvision", "mlflow", "pandas", "sklearn"} & set(modules) == set()
        assert (environment, blocked) == (value, [])
