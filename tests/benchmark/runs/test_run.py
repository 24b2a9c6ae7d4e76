import json
from dataclasses import replace

import numpy as np
import pytest
from crashes import in_folder, small_job
from mltbench.benchmark.experiments.recipe import Schedule
from mltbench.benchmark.runs.folder import RunFolder
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.runs.run import run_cohort
from mltbench.benchmark.training.execution import Execution, StoppedEarly
from mltbench.datasets import registry


@pytest.fixture
def job(dataset, tmp_path):
    """Three epochs of ERM on the tiny set, validated after each."""
    return small_job(tmp_path / "run", plain=Schedule(epochs=3, decay_after=()))


def test_a_callback_sees_every_epoch_as_the_journal_has_it(job, tmp_path):
    seen = []
    assert run_cohort(job, on_epoch=lambda epoch, metrics: seen.append((epoch, dict(metrics))))
    epochs = [entry for entry in read_journal(tmp_path / "run") if entry.event == "epoch"]
    assert seen == [(entry.step, entry.metrics) for entry in epochs]
    assert [epoch for epoch, metrics in seen if "validation/total" in metrics] == [1, 2]
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert [entry.details["images"] for entry in epochs] == [18, 36, 54]


def test_a_callback_may_stop_the_run(job, tmp_path):
    def stop(epoch, metrics):
        if epoch == 2:
            raise StoppedEarly("pruned at rung 1")

    assert not run_cohort(job, on_epoch=stop)
    *_, last = entries = read_journal(tmp_path / "run")
    assert [entry.event for entry in entries] == ["start", "epoch", "epoch", "stopped"]
    assert (last.step, last.details["reason"]) == (2, "pruned at rung 1")
    assert RunFolder(tmp_path / "run").state().state == "stopped"
    assert not (tmp_path / "run" / "weights.pt").exists()


def test_without_scoring_the_test_split_stays_closed(job, dataset, monkeypatch, tmp_path):
    def never():
        raise AssertionError("the test split was opened")

    closed = replace(dataset, openers={**dataset.openers, "test": never})
    entry = replace(registry._REGISTERED.by_name["tiny"], open=lambda root: closed)
    monkeypatch.setitem(registry._REGISTERED.by_name, "tiny", entry)
    assert run_cohort(replace(job, execution=Execution(score_test=False)))
    entries = read_journal(tmp_path / "run")
    assert [entry.event for entry in entries[-3:]] == ["evaluation", "cost", "finished"]
    assert not any(name.startswith("test/") for entry in entries for name in entry.metrics)
    assert "validation/total" in entries[-3].metrics
    report = json.loads((tmp_path / "run" / "per_class.json").read_text())
    assert list(report["average_precision"]) == ["validation"]
    assert not (tmp_path / "run" / "test_scores.npz").exists()
    assert not run_cohort(in_folder(job, tmp_path / "other")), "the opener above does not tell of its use"


def test_scores_are_kept_beside_the_names_of_their_images(job, dataset, tmp_path):
    assert run_cohort(job)
    with np.load(tmp_path / "run" / "test_scores.npz") as arrays:
        assert arrays["ids"].tolist() == dataset.split("test").ids.tolist()
        assert arrays["scores"].shape == dataset.split("test").labels.shape
