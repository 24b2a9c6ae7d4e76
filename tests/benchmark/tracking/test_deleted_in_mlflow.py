"""What was deleted in MLflow's pages: every command says the same of it, and what a message advises mends it."""

import re
import shlex
import shutil

import pytest
from click.testing import CliRunner
from mlflow.experiments import commands as mlflow_experiments
from mltbench.benchmark.executors.run_plan import run_plan
from mltbench.benchmark.tracking.store import open_store
from plans import contents, tiny_plan

pytestmark = pytest.mark.usefixtures("own_folder")
REPORT = ("report", "--no-figures", "--bootstrap", "0", "--dataset", "tiny")


def advised(text):
    """The one command that a text advises."""
    (command,) = set(re.findall(r"mltbench sync [^;`\n]+", text))
    return shlex.split(command)[1:]


def delete_experiment(store):
    store.client.delete_experiment(store.experiment("tiny"))


def test_all_commands_say_what_a_deleted_experiment_needs_and_it_helps(finished, store, call, caplog):
    whole = contents(store)
    delete_experiment(store)
    root = ("--out", store.root)
    listed, status, report = call("runs", "list", *root), call("status", *root), call(*REPORT, *root)
    assert (listed[0], status[0], report[0]) == (0, 0, 2)
    assert "0 runs" in listed[1]
    assert not list(store.root.glob("report*")), "no empty report"
    commands = [advised(text) for text in (listed[1], status[1], report[2])]
    assert commands == [["sync", "--out", str(store.root)]] * 3
    ended = call(*commands[0])
    assert ended[0] == 0
    assert "uploaded 1" in ended[1]
    assert "the experiment mltbench/tiny was deleted in MLflow, and is restored with its runs" in caplog.text
    assert contents(open_store(store.root)) == whole
    for words in (["sync", "--all"], ["sync"], REPORT):
        assert call(*words, *root)[0] == 0
    assert call("status", *root)[1].count("not in MLflow") == 0


def test_an_experiment_that_was_deleted_is_restored_for_the_runs_that_follow(finished, store, settings, caplog):
    delete_experiment(store)
    assert run_plan(tiny_plan(("rs",)), store, settings).not_uploaded == []
    assert "restored with its runs" in caplog.text
    assert sorted(run.data.tags["mltbench.method"] for run in store.runs_of()) == ["erm", "rs"]


def test_a_deleted_experiment_whose_folders_are_gone_is_restored_as_the_message_says(finished, store, call):
    delete_experiment(store)
    shutil.rmtree(store.runs)
    report = call(*REPORT, "--out", store.root)
    assert report[0] == 2
    address, *command = shlex.split(re.search(r"MLFLOW_TRACKING_URI=[^;\n]+", report[2]).group())
    name, _, value = address.partition("=")
    done = CliRunner().invoke(mlflow_experiments, command[2:], env={name: value})
    assert done.exit_code == 0, done.output
    assert call(*REPORT, "--out", store.root)[0] == 0


def test_a_run_that_was_deleted_in_mlflow_is_restored_or_deleted_for_good(finished, store, call, caplog):
    whole, (run,) = contents(store), store.runs_of()
    store.client.delete_run(run.info.run_id)
    root = ("--out", store.root)
    assert call(*REPORT, *root)[0] == 2
    status, *_ = call(*advised(call("status", *root)[1]))
    assert (status, contents(store)) == (0, whole)
    assert store.runs_of()[0].info.run_id == run.info.run_id, "the same run, not a second one"
    delete = shlex.split(re.search(r"mltbench (runs delete .+)", caplog.text).group(1))
    assert call(*delete, "--yes")[0] == 0
    assert (store.runs_of(), list(store.runs.iterdir())) == ([], [])
    assert "no such run" in call("status", *root)[1]


def test_a_copy_that_was_deleted_stays_deleted(finished, store, call):
    (run,) = store.runs_of()
    twin = store.client.create_run(
        run.info.experiment_id, start_time=run.info.start_time, tags=dict(run.data.tags), run_name=run.info.run_name
    ).info.run_id
    assert call("sync", "--out", store.root)[0] == 0
    assert call("sync", "--all", "--out", store.root)[0] == 0
    stages = {name: store.client.get_run(name).info.lifecycle_stage for name in (twin, run.info.run_id)}
    assert sorted(stages.values()) == ["active", "deleted"]


def test_nobody_to_answer_deletes_nothing(finished, store, call, monkeypatch, tmp_path):
    (tmp_path / "nothing").touch()
    with (tmp_path / "nothing").open() as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        status, _, error = call("runs", "delete", finished, "--out", store.root)
    assert (status, "--yes" in error, len(store.runs_of())) == (2, True, 1)
