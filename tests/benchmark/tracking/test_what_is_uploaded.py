"""Which value is logged under which name, at which step, with a client that only keeps what it is told."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException
from mltbench.benchmark.networks.initial_weights import random_weights
from mltbench.benchmark.runs import journal as journal_module
from mltbench.benchmark.runs.folder import HeldError, RunFolder
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.tracking import upload as module
from mltbench.benchmark.tracking.store import Store
from mltbench.benchmark.tracking.upload import UploadThread, attempt, status_of, upload
from mltbench.errors import InputError
from plans import tiny_plan

START = 1_000


class Client:
    """An MLflow server in memory: runs with what was logged to them, in order."""

    def __init__(self, *runs):
        self.runs, self.calls = list(runs), []

    def run(self, run_id):
        return next(run for run in self.runs if run.info.run_id == run_id)

    def search_runs(self, experiments, condition, view, *, order_by):
        self.calls.append(("search", experiments, condition, order_by))
        return [run for run in self.runs if f"'{run.data.tags['mltbench.experiment_id']}/%'" in condition]

    def create_run(self, experiment, *, start_time, run_name, tags):
        assert tags["mlflow.runName"] == run_name
        self.runs.append(run_of(f"run-{len(self.runs)}", tags, start_time=start_time, status="RUNNING"))
        return self.runs[-1]

    def log_batch(self, run_id, metrics=(), params=(), tags=(), *, synchronous):
        assert synchronous
        assert len(metrics) <= 1000, "what MLflow takes at once"
        run = self.run(run_id)
        run.points += [(metric.key, metric.value, metric.timestamp, metric.step) for metric in metrics]
        run.data.params.update({param.key: param.value for param in params})
        run.data.tags.update({tag.key: tag.value for tag in tags})

    def log_inputs(self, run_id, *, datasets):
        self.run(run_id).inputs = datasets

    def log_artifact(self, run_id, file):
        self.run(run_id).files.append(Path(file).name)

    def set_terminated(self, run_id, status, end_time):
        info = self.run(run_id).info
        info.status, info.end_time = status, end_time

    def delete_run(self, run_id):
        self.run(run_id).info.lifecycle_stage = "deleted"

    def restore_run(self, run_id):
        self.run(run_id).info.lifecycle_stage = "active"

    get_run = run


def run_of(run_id, tags, *, stage="active", status="FINISHED", start_time=START, metrics=()):
    info = SimpleNamespace(
        run_id=run_id, lifecycle_stage=stage, status=status, start_time=start_time, end_time=None, run_name=run_id,
        artifact_uri=f"remote://{run_id}",
    )  # fmt: skip
    data = SimpleNamespace(tags=dict(tags), params={}, metrics=dict.fromkeys(metrics, 0.0))
    return SimpleNamespace(info=info, data=data, points=[], files=[], inputs=[])


@pytest.fixture
def client():
    return Client()


@pytest.fixture
def store(client, monkeypatch, tmp_path):
    monkeypatch.setattr(Store, "experiment", lambda store, dataset: f"experiment of {dataset}")
    monkeypatch.setattr(Store, "artifacts_of", lambda store, uri: None)
    store = Store(root=tmp_path, tracking_uri="http://nowhere")
    store.__dict__["client"] = client
    return store


@pytest.fixture
def planned(dataset):
    overrides = ["method.mu=0.2", "recipe.resampled.decay_after=3,4", "recipe.dropout=0"]
    (planned,) = tiny_plan(["db"], seeds=[7], overrides=overrides).experiments
    return planned


@pytest.fixture
def write(store, planned, monkeypatch):
    """Write the journal of that run, an entry per millisecond from 1000 on, and the files that it leaves."""

    def write(*entries, kind="experiment", files=(), provenance=None, planned=planned):
        folder = RunFolder(store.folders(kind) / planned.experiment.id)
        folder.path.mkdir(parents=True, exist_ok=True)
        (folder.path / "journal.jsonl").unlink(missing_ok=True)
        times = iter(range(START * 10**6, 2**62, 10**6))
        with monkeypatch.context() as patch:
            patch.setattr(journal_module.time, "time_ns", lambda: next(times))
            for event, step, metrics, *details in entries:
                folder.journal.append(event, step=step, metrics=metrics, **(details[0] if details else {}))
        for name in files:
            (folder.path / name).write_text(name)
        if provenance is not None:
            (folder.path / "provenance.json").write_text(json.dumps(provenance))
        return folder

    return write


ENTRIES = [
    ("start", 0, {}),
    ("epoch", 1, {"train/loss": 0.5, "train/learning_rate": 0.2, "validation/total": 0.1}),
    ("resumed", 1, {}),
    ("epoch", 2, {"train/loss": 0.25, "train/learning_rate": 0.02}),
    ("evaluation", 2, {"validation/total": 0.3, "validation/tail": 0.4}),
    ("test", 2, {"test/total": 0.6, "test/tail": 0.7, "cost/train_seconds": 8.0}),
    ("finished", 2, {}),
]
FILES = ("experiment.json", "per_class.json", "test_scores.npz", "weights.pt", "checkpoint.mlt", "labels.json")


def test_every_point_has_its_value_time_and_step_and_results_come_before_the_curves(store, client, planned, write):
    write(*ENTRIES)
    run = client.run(upload(store, planned, "a plan"))
    assert run.points == [
        ("test/total", 0.6, 1005, 0),
        ("test/tail", 0.7, 1005, 0),
        ("cost/train_seconds", 8.0, 1005, 0),
        ("validation/total", 0.3, 1004, 2),  # a curve, for the first epoch has it
        ("validation/tail", 0.4, 1004, 0),
        ("train/loss", 0.25, 1003, 2),
        ("train/learning_rate", 0.02, 1003, 2),
        ("train/loss", 0.5, 1001, 1),
        ("train/learning_rate", 0.2, 1001, 1),
        ("validation/total", 0.1, 1001, 1),
    ]
    assert (run.info.start_time, run.info.end_time, run.info.status) == (1000, 1006, "FINISHED")


def test_what_an_earlier_upload_left_is_completed_and_nothing_is_there_twice(store, client, planned, write):
    folder = write(*ENTRIES)
    tags = {"mltbench.experiment_id": planned.experiment.id, "mltbench.attempt": f"{planned.experiment.id}/1000"}
    other = run_of("other", tags | {"mltbench.attempt": f"{planned.experiment.id}/999"})
    earlier = run_of("earlier", tags, metrics=["test/total", "train/loss"])
    copy = run_of("later", tags)
    client.runs += [other, earlier, copy]
    assert upload(store, planned, "a plan") == "earlier"
    logged = [name for name, *_ in earlier.points]
    assert "test/total" not in logged, "an earlier version had it at another step"
    assert logged.count("train/loss") == 2, "the same point again changes nothing"
    assert (copy.info.lifecycle_stage, other.info.lifecycle_stage, other.points) == ("deleted", "active", [])
    (search, *_) = client.calls
    assert search[1:] == (
        ["experiment of tiny"],
        f"tags.`mltbench.attempt` LIKE '{planned.experiment.id}/%'",
        ["attributes.run_id ASC"],
    )
    earlier.info.lifecycle_stage, copy.info.lifecycle_stage = "deleted", "active"
    assert upload(store, planned, "a plan") == "later", "one that is there, before a deleted one"
    copy.info.lifecycle_stage = "deleted"
    assert upload(store, planned, "a plan") == "earlier"
    assert (earlier.info.lifecycle_stage, len(client.runs)) == ("active", 3), "the last of the attempt comes back"
    assert attempt("id", read_journal(folder.path), {"study": "s", "trial": "t", "role": "x"}) == "id/1000/s/t"
    assert attempt("id", read_journal(folder.path), {"trial": "t", "from_study": "s"}) == "id/1000/t"


def test_a_long_journal_is_logged_whole_in_pieces(store, client, planned, write):
    epochs = [("epoch", step, {f"train/{n}": step + n / 4 for n in range(700)}) for step in (1, 2, 3)]
    write(("start", 0, {}), *epochs, ("finished", 3, {}))
    run = client.run(upload(store, planned, "a plan"))
    assert len(run.points) == 2100
    assert {(name, value, step) for name, value, _, step in run.points} == {
        (f"train/{n}", step + n / 4, step) for n in range(700) for step in (1, 2, 3)
    }


def test_tags_say_what_a_run_is(store, client, planned, write):
    provenance = {"commit": "abc", "threads": "2", "command": "mltbench run"}
    write(*ENTRIES, provenance=provenance)
    tags = client.run(upload(store, replace(planned, tags={"role": "tuned"}), "the plan")).data.tags
    experiment, description = planned.experiment, tags.pop("mlflow.note.content")
    assert "DB (mu=0.2, resampled.decay_after=3,4, dropout=0) on tiny, seed 7, recipe digits." in description
    assert "#/experiments/experiment of tiny/runs" in description
    assert tags == {
        "mlflow.runName": "DB, seed 7 (mu=0.2, resampled.decay_after=3,4, dropout=0)",
        "mlflow.source.name": "mltbench",
        "mlflow.source.git.commit": "abc",
        **{f"mltbench.{name}": value for name, value in {
            "plan": "the plan",
            "origin": store.origin,
            "kind": "experiment",
            "attempt": f"{experiment.id}/1000",
            "experiment_id": experiment.id,
            "configuration_id": experiment.configuration_id,
            "dataset": "tiny",
            "dataset_digest": experiment.dataset_digest,
            "method": "db",
            "title": "DB",
            "configuration": "DB (mu=0.2, resampled.decay_after=3,4, dropout=0), digits",
            "overrides": "mu=0.2, resampled.decay_after=3,4, dropout=0",
            "command": planned.command,
            "recipe": "digits",
            "backbone": "digits-resnet",
            "weights": "digits_resnet.npz",
            "weights_digest": experiment.weights_digest,
            "seed": "7",
            "numerics_version": "3",
            "state": "finished",
            "provenance.commit": "abc",
            "provenance.threads": "2",
            "provenance.command": "mltbench run",
            "role": "tuned",
        }.items()},
    }  # fmt: skip
    assert len({experiment.id, experiment.configuration_id, experiment.dataset_digest, experiment.weights_digest}) == 4


def test_a_run_whose_job_no_worker_could_begin_has_no_provenance(store, client, planned, write):
    write(*ENTRIES)
    tags = client.run(upload(store, planned, "a plan")).data.tags
    assert tags["mlflow.source.git.commit"] == "unknown"
    assert not [name for name in tags if "provenance" in name]


def test_parameters_are_all_that_decides(store, client, planned, write):
    write(*ENTRIES)
    other = replace(planned, experiment=planned.experiment)
    assert client.run(upload(store, other, "a plan")).data.params == {
        "method": "db", "dataset": "tiny", "seed": "7", "recipe": "digits",
        "method.images_per_visit": "3", "method.epoch_fraction": "0.25",
        "method.alpha": "0.1", "method.beta": "10.0", "method.mu": "0.2",
        "method.negative_scale": "5.0", "method.kappa": "0.05", "method.nu": "published",
        "backbone": "digits-resnet", "weights": "digits_resnet.npz",
        "weights_digest": planned.experiment.weights_digest,
        "input.mean": "[0.45, 0.45, 0.45]", "input.deviation": "[0.225, 0.225, 0.225]", "input.padding": "symmetric",
        "recipe.schedule.epochs": "8", "recipe.schedule.decay_after": "(3, 4)",
        "recipe.batch_size": "32", "recipe.learning_rate": "0.2", "recipe.momentum": "0.9",
        "recipe.weight_decay": "0.0001", "recipe.clip_norm": "35.0", "recipe.warmup_iterations": "250",
        "recipe.warmup_ratio": "0.3333333333333333", "recipe.decay_factor": "0.1", "recipe.neck_width": "256",
        "recipe.dropout": "0.0", "recipe.image_size": "48", "recipe.precision": "float32",
        "recipe.augmentation.brightness": "32.0", "recipe.augmentation.contrast": "0.5",
        "recipe.augmentation.saturation": "0", "recipe.augmentation.hue": "0",
        "recipe.augmentation.channel_permutation": "False", "recipe.augmentation.smallest_crop": "0.8",
        "recipe.augmentation.flip": "False",
    }  # fmt: skip


def test_a_parameter_is_the_same_after_it_was_json_and_as_long_as_mlflow_takes(store, client, planned, write):
    """MLflow refuses a second value of a parameter: a list that was a tuple must not look like another one."""
    folder = write(*ENTRIES)
    folder.announce(planned, "a plan")
    again, _ = folder.planned()
    assert client.run(upload(store, again, "a plan")).data.params["recipe.schedule.decay_after"] == "(3, 4)"
    long = replace(planned, recipe="r" * 7000, tags={"study": "s", "trial": "1"})
    params = client.run(upload(store, long, "a plan")).data.params
    assert params["recipe"] == "r" * 6000


def test_the_dataset_is_recorded_with_its_digest_as_that_of_training(store, client, planned, write):
    write(*ENTRIES)
    (given,) = client.run(upload(store, planned, "a plan")).inputs
    digest = planned.experiment.dataset_digest
    assert (given.dataset.name, given.dataset.digest, given.dataset.source_type) == ("tiny", digest[:36], "code")
    assert json.loads(given.dataset.source) == {"mltbench_dataset": "tiny", "sha256": digest}
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("experiment", ["experiment.json", "per_class.json", "test_scores.npz", "weights.pt", "journal.jsonl"]),
        ("trial", ["experiment.json", "per_class.json", "journal.jsonl"]),
    ],
)
def test_an_experiment_keeps_scores_and_weights_and_a_trial_does_not(
    kind, files, store, client, planned, write, monkeypatch, tmp_path
):
    folder = write(*ENTRIES, kind=kind, files=FILES)
    run = client.run(upload(store, planned, "a plan", kind=kind))
    assert run.files == files
    assert run.data.tags["mltbench.kind"] == kind
    (tmp_path / "artifacts").mkdir()
    monkeypatch.setattr(Store, "artifacts_of", lambda store, uri: tmp_path / "artifacts")
    upload(store, planned, "a plan", kind=kind)
    assert run.files == files, "they lie on this machine"
    copies = {path.name: path.read_bytes() for path in (tmp_path / "artifacts").iterdir()}
    assert copies == {name: (folder.path / name).read_bytes() for name in files}


@pytest.mark.parametrize(
    ("last", "status", "outcome", "reason"),
    [
        (("finished", 1, {}), "FINISHED", "complete", None),
        (("stopped", 1, {}, {"reason": "pruned"}), "KILLED", "pruned", "pruned"),
        (("failed", 1, {}, {"reason": "it diverged", "steps": 3}), "FAILED", "failed", "it diverged"),
        (("interrupted", 1, {}, {"reason": "signal"}), "FAILED", "failed", "signal"),
    ],
)
def test_a_run_ends_in_mlflow_as_its_journal_does(last, status, outcome, reason, store, client, planned, write):
    folder = write(("start", 0, {}), last, kind="trial")
    mine = replace(planned, tags={"study": "mine", "trial": "db/4"})
    run = client.run(upload(store, mine, "study mine", kind="trial"))
    assert (run.info.status, run.info.end_time, status_of(read_journal(folder.path))) == (status, 1001, status)
    tags = {name: run.data.tags.get(f"mltbench.{name}") for name in ("state", "outcome", "reason", "study", "trial")}
    assert tags == {"state": last[0], "outcome": outcome, "reason": reason, "study": "mine", "trial": "db/4"}
    assert "mltbench.steps" not in run.data.tags
    assert run.data.tags["mltbench.attempt"] == f"{planned.experiment.id}/1000/mine/db/4"
    known = replace(planned, tags={"outcome": "its study knows more"})
    assert client.run(upload(store, known, "p", kind="trial")).data.tags["mltbench.outcome"] == "its study knows more"


class Answers:
    """Stands for `upload`: raises what it is told to, one after the other, and then succeeds."""

    def __init__(self, *errors):
        self.errors, self.asked = list(errors), []

    def __call__(self, store, planned, plan, *, kind):
        self.asked.append((planned.title, plan, kind))
        if self.errors:
            raise self.errors.pop(0)


def gone(code="INTERNAL_ERROR"):
    error = MlflowException("the server is away\nmore")
    error.error_code = code
    return error


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "FIRST_WAIT_SECONDS", 0.005)
    monkeypatch.setattr(module, "LONGEST_WAIT_SECONDS", 0.01)


@pytest.mark.parametrize(
    ("errors", "tries", "left"),
    [
        ((), 1, []),
        ((gone(), OSError("no route"), gone()), 4, []),
        ((HeldError("held"), HeldError("held")), 3, []),
        ((gone("INVALID_PARAMETER_VALUE"),), 1, ["the server is away"]),
        ((gone("PERMISSION_DENIED"),), 1, ["the server is away"]),
        ((InputError("cannot be read"),), 1, ["cannot be read"]),
        ((gone(), InputError("cannot be read")), 2, ["cannot be read"]),
        ((ValueError(),), 2, []),
    ],
)
def test_an_upload_is_tried_again_where_that_may_help_and_the_next_ones_follow(
    errors, tries, left, quick, store, dataset, monkeypatch
):
    answers = Answers(*errors)
    monkeypatch.setattr(module, "upload", answers)
    plan = replace(tiny_plan(["erm", "rs"]), name="mine", scores_test=False)
    first, second = plan.experiments
    uploads = UploadThread(store, plan)
    uploads.put(first)
    deadline = time.monotonic() + 20
    while len(answers.asked) < tries:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    uploads.put(second)
    assert uploads.finish(patience=20) == [(first, reason) for reason in left]
    assert answers.asked == [("ERM", "mine", "trial")] * tries + [("RS", "mine", "trial")]


def test_at_the_end_a_server_is_asked_once_more_and_what_it_does_not_take_is_named(quick, store, dataset, monkeypatch):
    monkeypatch.setattr(module, "upload", answers := Answers(*(gone() for _ in range(10_000))))
    plan = tiny_plan(["erm", "rs"])
    uploads = UploadThread(store, plan)
    for planned in plan.experiments:
        uploads.put(planned)
    reasons = uploads.finish(patience=20)
    assert reasons == [(plan.experiments[0], "the server is away"), (plan.experiments[1], "not tried")]
    assert {title for title, *_ in answers.asked} == {"ERM"}


def test_tries_are_ever_further_apart_up_to_a_limit_and_begin_anew_with_the_next_run(store, dataset, monkeypatch):
    waits = []

    class Recording(threading.Event):
        def wait(self, timeout=None):
            waits.append(timeout)
            return False

    monkeypatch.setattr(module, "threading", SimpleNamespace(Event=Recording, Thread=threading.Thread))
    monkeypatch.setattr(module, "upload", Answers(*(gone() for _ in range(7)), InputError("no"), gone()))
    plan = tiny_plan(["erm", "rs"])
    uploads = UploadThread(store, plan)
    for planned in plan.experiments:
        uploads.put(planned)
    deadline = time.monotonic() + 20
    while len(waits) < 8:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    assert uploads.finish(patience=20) == [(plan.experiments[0], "no")]
    assert waits == [2, 4, 8, 16, 32, 60, 60, 2]


def test_an_upload_that_does_not_end_is_left_after_some_patience(store, dataset, monkeypatch):
    let_go = threading.Event()
    monkeypatch.setattr(module, "upload", lambda *_, **__: let_go.wait(30))
    (planned,) = tiny_plan(["erm"]).experiments
    uploads = UploadThread(store, tiny_plan(["erm"]))
    uploads.put(planned)
    try:
        assert uploads.finish(patience=0.2) == [(planned, "not tried")]
        assert not let_go.is_set()
    finally:
        let_go.set()


def test_another_backbone_and_its_weights_have_their_names(store, client, planned, write):
    file = Path("/somewhere/own.pt")
    other = replace(planned, weights=replace(random_weights(), digest="ab", file=file))
    write(*ENTRIES)
    run = client.run(upload(store, other, "a plan"))
    assert (run.data.tags["mltbench.weights"], run.data.params["weights"]) == ("own.pt", "own.pt")
