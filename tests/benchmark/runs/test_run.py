import json
import os
import signal
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from crashes import cohort_job, fingerprint, in_folder, small_job
from mltbench.benchmark.experiments.experiment import Experiment
from mltbench.benchmark.experiments.network import build_network
from mltbench.benchmark.experiments.recipe import Schedule
from mltbench.benchmark.runs import run as running
from mltbench.benchmark.runs.folder import RunFolder, State
from mltbench.benchmark.runs.interruption import Interrupted
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.runs.run import run_cohort
from mltbench.benchmark.training.execution import DivergedError, Execution, ExecutionChangedError, StoppedEarly
from mltbench.benchmark.training.learner import Learner
from mltbench.datasets import registry
from mltbench.datasets.dataset import Dataset
from mltbench.datasets.word_vectors import hashed_word_vectors
from mltbench.errors import InputError
from sklearn.metrics import average_precision_score


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


def events(folder):
    return [entry.event for entry in read_journal(folder)]


def last_state(folder):
    return RunFolder(folder).state().state


def logits_of(folder, split, pixels):
    """Raw logits of the network that a run left, of plainly normalised images."""
    experiment = Experiment.from_json((folder / "experiment.json").read_text())
    network = build_network(experiment, split.statistics).eval()
    network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.45) / 0.225
    with torch.no_grad():
        return network(images).numpy()


def test_every_split_is_scored_with_its_own_images_and_labels_by_the_network_that_is_kept(dataset, tmp_path):
    folder = tmp_path / "run"
    assert run_cohort(small_job(folder, image_size=48))
    found = {name: value for entry in read_journal(folder) for name, value in entry.metrics.items()}
    kept = json.loads((folder / "per_class.json").read_text())["average_precision"]
    assert set(kept) == {"validation", "test"}
    for name, precision in kept.items():
        split = dataset.split(name)
        logits = logits_of(folder, dataset, split.images)
        expected = [average_precision_score(split.labels[:, c], logits[:, c]) for c in range(6)]
        assert list(precision.values()) == pytest.approx(expected, abs=1e-9)
        assert found[f"{name}/total"] == found[f"{name}/tail"] == pytest.approx(np.mean(expected), abs=1e-9)
    assert len({*map(str, kept.values())}) == 2, "the splits can be told apart"
    with np.load(folder / "test_scores.npz") as arrays:
        np.testing.assert_allclose(
            arrays["scores"], logits_of(folder, dataset, dataset.split("test").images), atol=1e-4
        )


def test_only_the_validation_split_is_scored_before_the_end(dataset, monkeypatch, tmp_path):
    asked, evaluate = [], Learner.evaluate

    def recorded(self, split, **more):
        result = evaluate(self, split, **more)
        asked.append((split, more["folder"], result[0].as_metrics(split)))
        return result

    monkeypatch.setattr(Learner, "evaluate", recorded)
    job = small_job(tmp_path, plain=Schedule(epochs=5, decay_after=()))
    run_cohort(replace(job, execution=replace(job.execution, evaluate_every=2)))
    assert [split for split, *_ in asked] == ["validation", "validation", "validation", "test"]
    assert {folder for _, folder, _ in asked} == {tmp_path}
    entries = read_journal(tmp_path)
    assert [(entry.event, entry.step) for entry in entries] == [
        ("start", 0), *(("epoch", step) for step in range(1, 6)), ("evaluation", 5), ("test", 5), ("finished", 5)
    ]  # fmt: skip
    curve = {"train/loss", "train/learning_rate"}
    scores = {entry.step: {k: v for k, v in entry.metrics.items() if k not in curve} for entry in entries[1:6]}
    assert scores == {1: {}, 2: asked[0][2], 3: {}, 4: asked[1][2], 5: {}}
    assert entries[6].metrics == asked[2][2]
    assert asked[3][2].items() <= entries[7].metrics.items()


class Clock:
    """Time that only steps and checkpoints take: one second and `writing` seconds; or every look takes one second."""

    def __init__(self, writing=None):
        self.now, self.writing, self.saved = 100.0, writing, []

    def look(self):
        self.now += self.writing is None
        return self.now

    def replace(self, monkeypatch):
        learn = Learner.learn

        def step(learner, batch):
            self.now += self.writing is not None
            learn(learner, batch)

        def write(folder, header, states):
            self.saved.append(header.steps)
            self.now += self.writing

        clock = SimpleNamespace(perf_counter=self.look, monotonic=lambda: self.now)
        monkeypatch.setattr(running, "time", clock)
        monkeypatch.setattr(Learner, "learn", step)
        if self.writing is not None:
            monkeypatch.setattr(running, "write_checkpoint", write)


def costs(folder):
    entry = read_journal(folder)[-2]
    assert entry.event == "test"
    return entry.metrics["cost/train_seconds"], entry.metrics["cost/images_per_second"]


def test_seconds_are_shared_by_a_cohort_and_images_are_divided_by_them(dataset, monkeypatch, tmp_path):
    """Three steps of six images per epoch, and a look at the clock after each step and each epoch."""
    Clock().replace(monkeypatch)
    assert run_cohort(cohort_job(["erm"], tmp_path / "alone", checkpoint_seconds=1000))
    assert costs(tmp_path / "alone" / "erm") == (8, 36 / 8)
    assert run_cohort(cohort_job(["erm", "focal"], tmp_path, checkpoint_seconds=1000))
    assert [costs(tmp_path / name) for name in ("erm", "focal")] == [(4, 36 / 4)] * 2


@pytest.mark.parametrize(
    ("writing", "every", "saved"),
    [
        (0.0, 5, [5, 10, 15, 20]),
        # Of 12.75 s, a quarter of a second is 2 %.
        (0.25, 5, [5, 18]),
        (0.0, 0, [*range(1, 22)]),
        (0.25, 0, [*range(1, 22)]),
    ],
)
def test_checkpoints_are_written_when_they_are_due_and_take_a_fiftieth_of_the_time(
    writing, every, saved, dataset, monkeypatch, tmp_path
):
    clock = Clock(writing)
    clock.replace(monkeypatch)
    job = small_job(tmp_path, checkpoint_seconds=float(every), plain=Schedule(epochs=7, decay_after=()))
    assert run_cohort(replace(job, execution=replace(job.execution, evaluate_every=0)))
    assert clock.saved == saved


@pytest.mark.parametrize(("seed", "stream"), [(0, 7938499265082287326), (1, 1103483478693192707)])
def test_dropout_draws_from_the_stream_of_the_seed_and_every_member_of_a_cohort_from_its_own(
    seed, stream, dataset, monkeypatch, tmp_path
):
    drawn, learn = {}, Learner.learn

    def recorded(self, batch):
        drawn.setdefault(self, []).append((torch.initial_seed(), torch.rand(()).item()))
        learn(self, batch)

    monkeypatch.setattr(Learner, "learn", recorded)
    before = torch.get_rng_state()
    assert run_cohort(seeded(cohort_job(["erm", "focal"], tmp_path), seed))
    assert torch.equal(torch.get_rng_state(), before)
    first, second = drawn.values()
    assert first == second, "no member draws what is another's"
    assert {begun for begun, _ in first} == {stream}
    assert len({number for _, number in first}) == 6


def seeded(job, seed):
    """The same job with another seed."""
    experiments = [Experiment.from_json(member.experiment_json) for member in job.members]
    texts = [replace(experiment, seed=seed).to_json() for experiment in experiments]
    members = zip(job.members, texts, strict=True)
    return replace(job, members=tuple(replace(member, experiment_json=text) for member, text in members))


@pytest.fixture
def stop_at(monkeypatch):
    """Let SIGTERM come in the middle of so many calls of `learn`, counted over all members."""

    def stop_at(number):
        calls, learn = [], Learner.learn

        def signalled(self, batch):
            calls.append(1)
            if len(calls) == number:
                os.kill(os.getpid(), signal.SIGTERM)
            learn(self, batch)

        monkeypatch.setattr(Learner, "learn", signalled)

    return stop_at


METHODS = ("rs", "db-focal")


def test_an_interrupted_cohort_comes_to_the_same_bits_images_and_seconds(dataset, monkeypatch, stop_at, tmp_path):
    Clock().replace(monkeypatch)
    jobs = [cohort_job(METHODS, tmp_path / name, checkpoint_seconds=1000) for name in ("whole", "parts")]
    assert run_cohort(jobs[0])
    stop_at(6)  # the third of four steps
    with pytest.raises(Interrupted):
        run_cohort(jobs[1])
    for name in METHODS:
        state = RunFolder(tmp_path / "parts" / name).state()
        assert (state.state, state.epoch, state.step, state.reason) == (State.INTERRUPTED, 1, 3, "signal SIGTERM")
    assert run_cohort(jobs[1])
    for name in METHODS:
        whole, parts = tmp_path / "whole" / name, tmp_path / "parts" / name
        assert fingerprint(parts) == fingerprint(whole)
        assert costs(parts) == costs(whole)
        images = [[e.details["images"] for e in read_journal(run) if e.event == "epoch"] for run in (parts, whole)]
        assert images == [[12, 24]] * 2
        resumed = next(entry for entry in read_journal(parts) if entry.event == "resumed")
        assert (resumed.step, resumed.details["steps"], resumed.details["threads"]) == (1, 3, 1)
        assert "moved_from" not in resumed.details
        assert not list(parts.glob("checkpoint*"))
    assert run_cohort(jobs[1]), "what is finished is not trained again"
    assert events(tmp_path / "parts" / "rs").count("finished") == 1


@pytest.mark.parametrize(
    ("previous", "without", "steps"), [([], [], [3, 3]), (["rs"], [], [2, 2]), ([], ["db-focal"], [3, 0])]
)
def test_members_begin_at_the_latest_step_that_most_have_in_common(
    previous, without, steps, dataset, stop_at, tmp_path
):
    """Every member has checkpoints of the second and of the third step; one loses the newer, or both."""
    job = cohort_job(METHODS, tmp_path)
    stop_at(6)
    with pytest.raises(Interrupted):
        run_cohort(job)
    for name in previous:
        (tmp_path / name / "checkpoint.mlt").unlink()
    for path in [path for name in without for path in (tmp_path / name).glob("checkpoint*")]:
        path.unlink()
    assert run_cohort(job)
    resumed = [[e.details["steps"] for e in read_journal(tmp_path / name) if e.event == "resumed"] for name in METHODS]
    assert [found or [0] for found in resumed] == [[step] for step in steps]


def test_a_run_resumes_with_the_bits_that_it_would_have_had_or_not_at_all(dataset, monkeypatch, stop_at, tmp_path):
    monkeypatch.setattr(running, "set_up_process", lambda threads: None)
    job = cohort_job(METHODS, tmp_path)
    stop_at(6)
    with pytest.raises(Interrupted):
        run_cohort(job)
    for path in (tmp_path / "rs").glob("checkpoint*"):
        path.unlink()
    for change in ({"threads": 2}, {"device": "cuda"}):
        with pytest.raises(ExecutionChangedError, match="db-focal was interrupted at step 3 on cpu with --threads 1"):
            run_cohort(replace(job, members=job.members[1:], execution=replace(job.execution, **change)))
    with pytest.raises(ExecutionChangedError, match="--restart"):
        run_cohort(replace(job, execution=replace(job.execution, threads=2)))
    assert [last_state(tmp_path / name) for name in METHODS] == ["finished", "interrupted"], "the other was trained"
    assert run_cohort(replace(job, restart=True))
    assert "resumed" not in events(tmp_path / "db-focal")
    assert events(tmp_path / "db-focal").count("start") == 1


def test_a_machine_that_is_another_one_is_on_record(dataset, monkeypatch, stop_at, tmp_path):
    job = small_job(tmp_path)
    stop_at(2)
    with pytest.raises(Interrupted):
        run_cohort(job)
    (was,) = {
        checkpoint.header.machine
        for checkpoint in running.checkpoints_for(RunFolder(tmp_path), job.members[0].experiment_id, job.execution)
    }
    monkeypatch.setattr(running, "machine", lambda device, threads: {"device_name": "another CPU"})
    assert run_cohort(job)
    details = next(entry.details for entry in read_journal(tmp_path) if entry.event == "resumed")
    assert details["moved_from"] == was
    assert details["machine"].endswith(" on another CPU")


# What ends an experiment at its fourth step, the event and the reason in its journal, and the step that it names.
ENDS = {
    "erm": (RuntimeError("in a mood"), "failed", "RuntimeError: in a mood", 4),
    "nt-bce": (InputError("no such thing"), "failed", "InputError: no such thing", 4),
    "cb-focal": (DivergedError("not finite", step=77), "failed", "DivergedError: not finite", 77),
    "ldam": (StoppedEarly("seen enough"), "stopped", "seen enough", 4),
}


def test_an_error_ends_its_experiment_and_the_others_have_their_bits(dataset, monkeypatch, tmp_path):
    assert run_cohort(cohort_job(["focal"], tmp_path / "alone"))
    learn, errors = Learner.learn, {}

    def failing(self, batch):
        if len(errors) < len(names):
            errors[self] = ENDS.get(names[len(errors)])
        if errors[self] and self.steps == 4:
            raise errors[self][0]
        learn(self, batch)

    monkeypatch.setattr(Learner, "learn", failing)
    names = [*ENDS, "focal"]
    assert not run_cohort(cohort_job(names, tmp_path))
    for name, (_, event, reason, steps) in ENDS.items():
        last = read_journal(tmp_path / name)[-1]
        found = (last.event, last.step, last.details["reason"], last.details["steps"])
        assert found == (event, 1, reason, steps)
        assert not list((tmp_path / name).glob("checkpoint*")), "failures are never cached"
        assert not (tmp_path / name / "weights.pt").exists()
    assert fingerprint(tmp_path / "focal") == fingerprint(tmp_path / "alone" / "focal")
    monkeypatch.setattr(Learner, "learn", learn)
    assert run_cohort(cohort_job(["erm"], tmp_path)), "asked for again, it is trained from its beginning"
    assert events(tmp_path / "erm") == ["start", "epoch", "epoch", "evaluation", "test", "finished"]


def test_a_checkpoint_that_this_code_cannot_use_is_left_and_all_begin_anew(dataset, monkeypatch, stop_at, tmp_path):
    """Of two members the second cannot go on from its own; both have the bits that they would have had."""
    jobs = [cohort_job(METHODS, tmp_path / name) for name in ("whole", "parts")]
    assert run_cohort(jobs[0])
    stop_at(6)
    with pytest.raises(Interrupted):
        run_cohort(jobs[1])
    loaded, load_state = [], Learner.load_state

    def load(self, state):
        loaded.append(self)
        if len(loaded) == 2:
            raise KeyError("a name of another version")
        load_state(self, state)

    monkeypatch.setattr(Learner, "load_state", load)
    assert run_cohort(jobs[1])
    for name in METHODS:
        assert "resumed" not in events(tmp_path / "parts" / name)
        assert fingerprint(tmp_path / "parts" / name) == fingerprint(tmp_path / "whole" / name)


def test_without_a_validation_split_the_test_split_alone_is_scored(dataset, monkeypatch, tmp_path):
    splits = {name: dataset.split(name) for name in ("train", "test")}
    entry = replace(registry._REGISTERED.by_name["tiny"], open=lambda root: two)
    two = Dataset.in_memory("tiny", dataset.classes, splits)
    monkeypatch.setitem(registry._REGISTERED.by_name, "tiny", entry)
    job = small_job(tmp_path)
    (member,) = job.members
    text = replace(Experiment.from_json(member.experiment_json), dataset_digest=two.digest).to_json()
    execution = replace(job.execution, evaluate_every=0)
    assert run_cohort(replace(job, members=(replace(member, experiment_json=text),), execution=execution))
    assert events(tmp_path) == ["start", "epoch", "epoch", "test", "finished"]
    assert list(json.loads((tmp_path / "per_class.json").read_text())["average_precision"]) == ["test"]


def test_what_can_be_corrected_before_anything_is_trained_costs_no_checkpoint(dataset, monkeypatch, stop_at, tmp_path):
    job = small_job(tmp_path)
    stop_at(2)
    with pytest.raises(Interrupted):
        run_cohort(job)
    with monkeypatch.context() as patch:
        patch.setattr(running, "find_weights", lambda *given: (_ for _ in ()).throw(InputError("no file of weights")))
        assert not run_cohort(job)
    assert (last_state(tmp_path), RunFolder(tmp_path).state().reason) == (State.INTERRUPTED, "no file of weights")
    assert run_cohort(job)
    assert "resumed" in events(tmp_path)


def test_another_content_of_the_dataset_is_another_experiment(dataset, monkeypatch, tmp_path):
    other = replace(dataset, digests={**dataset.digests, "validation": "0" * 64})
    assert other.digest != dataset.digest
    entry = replace(registry._REGISTERED.by_name["tiny"], open=lambda root: other)
    monkeypatch.setitem(registry._REGISTERED.by_name, "tiny", entry)
    assert not run_cohort(small_job(tmp_path))
    assert f"dataset tiny has digest {other.digest[:12]} here" in RunFolder(tmp_path).state().reason


@pytest.mark.parametrize("given", [True, False])
def test_a_learner_is_given_what_its_experiment_asks_for(given, dataset, monkeypatch, tmp_path):
    asked, threads = [], []
    monkeypatch.setattr(running, "set_up_process", threads.append)

    def seen(*values, **named):
        asked.append((*values, named))
        raise RuntimeError("seen")

    monkeypatch.setattr(running, "Learner", seen)
    monkeypatch.setattr(running, "find_weights", lambda *values: values)
    job = cohort_job(["erm", "ml-gcn"], tmp_path)
    job = replace(job, execution=replace(job.execution, threads=3))
    members = [replace(member, weights=f"{n}.pt") for n, member in enumerate(job.members)]
    vectors = np.arange(12, dtype=np.float32).reshape(6, 2)
    np.savez(tmp_path / "vectors.npz", classes=np.array(dataset.classes), vectors=vectors)
    file = str(tmp_path / "vectors.npz") if given else None
    assert not run_cohort(replace(job, members=tuple(members), word_vectors=file, data_root="/data"))
    (erm, tiny, execution, plain), (gcn, _, _, graph) = asked
    assert threads == [3]
    assert (erm.method.name, gcn.method.name, tiny, execution) == ("erm", "ml-gcn", dataset, job.execution)
    assert plain == {"word_vectors": None, "weights": ("digits-resnet", erm.weights_digest, "0.pt", "/data")}
    expected = vectors if given else hashed_word_vectors(dataset.classes).vectors
    assert graph.pop("word_vectors").tolist() == expected.tolist()
    assert graph == {"weights": ("digits-resnet", gcn.weights_digest, "1.pt", "/data")}


@pytest.mark.parametrize("names", [["erm"], ["erm", "focal"]])
def test_a_folder_says_what_was_run_and_how(names, dataset, tmp_path):
    job = replace(cohort_job(names, tmp_path), command="mltbench run --table 1")
    assert run_cohort(job)
    for member, name in zip(job.members, names, strict=True):
        folder = tmp_path / name
        assert (folder / "experiment.json").read_text() == member.experiment_json
        provenance = json.loads((folder / "provenance.json").read_text())
        expected = {"command": "mltbench run --table 1", "threads": "1", "device": "cpu"}
        assert expected.items() <= provenance.items()
        assert provenance.get("cohort") == (None if len(names) == 1 else "2")
        assert read_journal(folder)[0].details == {"execution": asdict(job.execution)}
        losses = [entry.metrics["train/learning_rate"] for entry in read_journal(folder) if entry.event == "epoch"]
        # Three steps of warm-up to .2, and a tenth of it after the first epoch.
        assert losses == pytest.approx([0.2 * (1 / 3 + 2 / 3 * 2 / 3), 0.02])
