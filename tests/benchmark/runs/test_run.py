import json
from dataclasses import replace

import numpy as np
import pytest
from crashes import in_folder
from mltbench.benchmark.experiments.recipe import Schedule
from mltbench.benchmark.runs.folder import RunFolder
from mltbench.benchmark.runs.job import Job, Member
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.runs.run import run_cohort
from mltbench.benchmark.training.check import tiny_experiment
from mltbench.benchmark.training.execution import Execution, StoppedEarly
from mltbench.datasets import registry
from mltbench.methods.catalogue import get_method

EPOCHS = Schedule(epochs=3, decay_after=())


@pytest.fixture
def job(dataset, tmp_path):
    """Three epochs of ERM on the tiny set, validated after each."""
    experiment = tiny_experiment(get_method("erm"), plain=EPOCHS, image_size=16, neck_width=8)
    execution = Execution(evaluate_every=1)
    member = Member(experiment_json=experiment.to_json(), folder=str(tmp_path / "run"))
    return Job(members=(member,), data_root="", execution=execution)


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
