"""What `mltbench run` does without MLflow and before torch, so that its first step comes soon."""

import json
import shutil
import sqlite3
from dataclasses import replace

import mlflow.utils.mlflow_tags
import pytest
from crashes import small_job
from mltbench.benchmark.executors.processes import Processes
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.tracking import upload as tracking
from mltbench.benchmark.tracking.store import open_store
from mltbench.errors import InputError
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


@pytest.fixture
def database(out):
    """A SQLite file of MLflow with runs of every kind that a plan meets; gives its path and what is finished."""
    client = open_store(out).client
    named = {name: client.create_experiment(f"mltbench/{name}") for name in ("here", "there")}

    def make(identity, *, dataset="here", kind="experiment", status="FINISHED"):
        tags = {"mltbench.experiment_id": identity, "mltbench.kind": kind}
        run = client.create_run(named[dataset], tags=tags).info.run_id
        client.set_terminated(run, status)
        return run

    make("finished")
    make("twice", status="FAILED")
    make("twice")
    make("failed", status="FAILED")
    make("trial", kind="trial")
    make("elsewhere", dataset="there")
    client.delete_run(make("deleted"))
    return out / "mlflow.db"


def test_what_is_finished_is_known_without_mlflow(database):
    store = open_store(database.parent, soon=True)
    assert store.opened_later
    for dataset in ("here", "there", "nowhere"):
        assert store.known(dataset) == open_store(database.parent).finished(dataset)
    assert store.finished("here") == {"finished", "twice"}
    assert "client" not in vars(store)
    assert len(store.runs_of("here")) == 4  # now MLflow was asked


def test_a_new_folder_needs_no_mlflow_to_begin_with(tmp_path):
    store = open_store(tmp_path / "new", soon=True)
    assert (store.opened_later, store.finished("here")) == (True, set())
    assert not (tmp_path / "new" / "mlflow.db").exists()


def test_tables_of_another_mlflow_are_left_to_mlflow(database):
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    assert not open_store(database.parent, soon=True).opened_later


@pytest.mark.parametrize("trouble", ["no database", "no folder"])
def test_what_only_mlflow_can_tell_is_told_before_anything_is_trained(trouble, database, tmp_path):
    uri = f"sqlite:///{database}"
    if trouble == "no database":
        database.write_text("not a database, and long enough to be taken for one" * 100)
    else:
        (tmp_path / "file").write_text("")
        uri = f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}"
    with pytest.raises(InputError, match="MLflow cannot open"):
        open_store(database.parent, uri, soon=True)


def test_tags_are_called_as_mlflow_calls_them():
    names = ("MLFLOW_GIT_COMMIT", "MLFLOW_PARENT_RUN_ID", "MLFLOW_RUN_NAME", "MLFLOW_SOURCE_NAME")
    for name in names:
        assert getattr(tracking, name) == getattr(mlflow.utils.mlflow_tags, name)
