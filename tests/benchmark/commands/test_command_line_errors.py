import sys
from contextlib import nullcontext

import pytest
from command_line import call
from mltbench.benchmark.executors.processes import Processes
from mltbench.methods import plugins


@pytest.fixture(autouse=True)
def _bad_files(own_folder, tmp_path, own_registrations, monkeypatch):
    # The first worker, which a run starts while it looks at its options, would import torch for nothing.
    monkeypatch.setattr(Processes, "ready", lambda executor: nullcontext())
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "broken.py").write_text("import nowhere_to_be_found")
    yield
    sys.modules.pop(plugins.plugin_module_name(tmp_path / "broken.py"), None)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("run", ["--table 1", "--method", "db-focal"]),
        ("run --method erms", ["'erms'", "did you mean 'erm'", "db-focal"]),
        ("run --method erm --dataset digits", ["'digits'", "did you mean 'digits-mlt'"]),
        ("run --method r-bce --override method.m=.2", ["'method.m'", "method.mu"]),
        ("run --method erm --seeds 0", ["--seeds '0'", "4,5,6"]),
        ("run --method erm --seeds three", ["--seeds 'three'", "4,5,6"]),
        ("run --method erm --seeds 1,-2", ["--seeds '1,-2'"]),
        ("run --method erm --override recipe.lr=.1", ["'recipe.lr'", "did you mean 'recipe.learning_rate'?"]),
        ("run --method erm --override recipe.wd=.1", ["did you mean 'recipe.weight_decay'?"]),
        ("run --method erm --device tpu", ["'tpu'", "auto, cpu, cuda"]),
        ("run --method erm --device cuda:99", ["'cuda:99'", "--device cpu"]),
        ("run --method erm --device cuda:x", ["'cuda:x'", "cuda:N"]),
        ("run --method erm --plugin gone.py", ["gone.py", "mltbench.register_loss"]),
        ("run --method erm --plugin broken.py", ["broken.py", "nowhere_to_be_found"]),
        ("run --method erm --out file/below", ["file/below", "--out", "MLTBENCH_HOME"]),
        ("run --method erm --data-root file/below", ["file/below", "--data-root", "MLTBENCH_DATA"]),
        ("run --method ml-gcn --word-vectors gone.txt", ["gone.txt", "GloVe"]),
        ("methods dbb", ["'dbb'", "did you mean 'db'"]),
        ("data show digit-mlt", ["'digit-mlt'", "did you mean 'digits-mlt'"]),
        ("data show digits-mlt --out file/below.png", ["file/below.png", "--out"]),
        ("runs list --out nowhere", ["nowhere", "mltbench run", "--out"]),
        ("runs show abc --out nowhere", ["nowhere"]),
        ("runs delete abc --yes --out nowhere", ["nowhere"]),
        ("report --out nowhere", ["nowhere", "mltbench run", "--out"]),
        ("report --table 4", ["table '4'", "known: 1, 2, 3"]),
        ("rnu", ["'rnu'", "did you mean 'run'", "leaderboard"]),
        ("study tuen", ["'tuen'", "did you mean 'tune'", "worker"]),
        ("run --methd erm", ["--methd", "Did you mean", "--method"]),
        ("run --method erm --workers 0", ["--workers", '"0"', ">= 1"]),
        ("run --method erm --threads many", ["--threads", '"many"']),
        ("run --method erm --executor slurm", ["'slurm'", "known: local, ray"]),
        ("predict 3f2a --threshold 2 a.png", ["--threshold", "<= 1"]),
        ("runs show", ["NAME"]),
        ("run --method erm --dry-run --seeds ²", ["²"]),
        ("run --method erm --dry-run --override recipe.learning_rate=1e999", ["learning_rate"]),
        ("run --method r-bce --dry-run --override method.mu={[]:1}", ["mu"]),
        ("run --method erm --dry-run --tracking-uri http://localhost:port", ["http://localhost:port"]),
        ("run --method erm --dry-run --tracking-uri mlruns", ["mlruns"]),
        ("run --method erm --dry-run --tracking-uri sqlite:///file/below.db", ["file/below.db"]),
        ("methods db --dataset digit-mlt", ["digits-mlt"]),
    ],
)
def test_bad_input_is_one_paragraph_that_says_what_to_do(tmp_path, line, words):
    status, shown, error = call(*line.split())
    assert (status, shown) == (2, "")
    assert error.startswith("error: ")
    assert error.endswith("\n")
    assert error.count("\n") == 1
    assert [word for word in words if word not in error] == []
    assert not (tmp_path / "mltbench-results" / "runs").exists()
