"""What a run is in MLflow, and that it comes there exactly once, through a server that fails in each of five ways."""

import json
import shutil
import threading
import time

import numpy as np
import pytest
from failing_server import FAILURES, WELL, FailingServer, mlflow_server
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.executors.run_plan import run_plan
from mltbench.benchmark.executors.settings import RunSettings
from mltbench.benchmark.runs import run as running
from mltbench.benchmark.runs.folder import RunFolder
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.tracking import upload as uploading
from mltbench.benchmark.tracking.store import Store, open_store
from mltbench.benchmark.tracking.sync import agree, find
from mltbench.benchmark.training.execution import Execution
from mltbench.datasets.registry import load_dataset
from plans import PLAIN, TINY, contents, make_plan, points, require_each_point_once, tiny_plan
from sklearn.metrics import average_precision_score

METHODS = ("erm", "db-focal")
GROUPS = ("head", "medium", "tail")
QUICK = ("recipe.plain.epochs=1", "recipe.resampled.epochs=2")
TWO_EPOCHS = ("recipe.plain.epochs=2", "recipe.batch_size=8")


@pytest.fixture(scope="module")
def plan(data_root):
    return make_plan(data_root, METHODS, overrides=QUICK)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, empty_database, plan, data_root):
    """A store in which the plan was run, and what became of it."""
    root = tmp_path_factory.mktemp("results")
    shutil.copy(empty_database, root)
    store = open_store(root)
    everything = RunSettings(data_root=data_root, execution=Execution(evaluate_every=1))
    return store, run_plan(plan, store, everything)


@pytest.fixture(params=METHODS)
def run(request, trained, plan):
    """One run in MLflow with its experiment and its folder."""
    store, _ = trained
    experiment = next(p.experiment for p in plan.experiments if p.experiment.method.name == request.param)
    (found,) = (r for r in store.runs_of("digits-mlt") if r.data.tags["mltbench.experiment_id"] == experiment.id)
    return found, experiment, store.runs / experiment.id


def test_a_plan_is_trained_and_uploaded(trained, plan):
    store, summary = trained
    require_each_point_once(store, plan)
    assert len(summary.trained) == len(plan.experiments)
    assert (summary.failed, summary.skipped, summary.not_uploaded) == ([], [], [])


def test_an_experiment_is_a_run_that_names_its_plan(run, plan):
    found, _, folder = run
    entries = read_journal(folder)
    assert (found.info.start_time, found.info.end_time) == (entries[0].time, entries[-1].time)
    assert (found.info.status, found.data.tags["mltbench.plan"]) == ("FINISHED", plan.name)
    assert "mlflow.parentRunId" not in found.data.tags


def test_parameters_are_all_that_decides(run):
    found, experiment, _ = run
    expected = {"method": experiment.method.name, "dataset": "digits-mlt", "seed": "0"}
    expected |= {"recipe.learning_rate": str(experiment.training["learning_rate"])}
    expected |= {f"method.{name}": str(value) for name, value in experiment.method.parameters.items()}
    expected |= {"recipe.schedule.epochs": str(experiment.training["schedule"]["epochs"]), "recipe.batch_size": "32"}
    expected |= {"recipe.augmentation.smallest_crop": "0.8", "backbone": "digits-resnet"}
    expected |= {"input.mean": "[0.45, 0.45, 0.45]", "recipe.schedule.decay_after": "(18, 23)"}
    if experiment.method.name == "db-focal":
        expected["recipe.schedule.decay_after"] = "(5, 7)"
    assert expected.items() <= found.data.params.items()


def test_metrics_have_their_steps(trained, run):
    store, _ = trained
    found, experiment, _ = run
    epochs, steps = experiment.training["schedule"]["epochs"], {}
    for name, step, *_ in points(store, found):
        steps.setdefault(name, []).append(step)
    for name in ("train/loss", "train/learning_rate", "validation/total", "validation/tail"):
        is_curve = epochs > 1 or name.startswith("train/")
        assert steps[name] == (list(range(1, epochs + 1)) if is_curve else [0])
    once = [f"test/{name}" for name in ("total", *GROUPS)]
    once += ["cost/train_seconds", "cost/images_per_second", "cost/peak_memory_mib"]
    assert [steps[name] for name in once] == [[0]] * len(once), "MLflow draws bars"


def test_the_dataset_is_recorded_with_its_digest(run):
    found, experiment, _ = run
    (given,) = found.inputs.dataset_inputs
    assert given.dataset.name == "digits-mlt"
    assert experiment.dataset_digest.startswith(given.dataset.digest)
    assert json.loads(given.dataset.source)["sha256"] == experiment.dataset_digest
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]


def test_the_logged_scores_follow_from_the_stored_logits(trained, run, data_root, tmp_path):
    store, _ = trained
    found, _, _ = run
    for name in ("test_scores.npz", "per_class.json"):
        store.client.download_artifacts(found.info.run_id, name, str(tmp_path))
    with np.load(tmp_path / "test_scores.npz", allow_pickle=False) as arrays:
        scores, ids, classes = (arrays[name] for name in ("scores", "ids", "classes"))
    per_class = json.loads((tmp_path / "per_class.json").read_text())
    dataset = load_dataset("digits-mlt", data_root=data_root)
    labels, counts = dataset.split("test").labels, dataset.split("train").labels.sum(axis=0)
    assert scores.dtype == np.float32
    assert ids.tolist() == dataset.split("test").ids.tolist()
    assert tuple(classes) == dataset.classes
    precision = np.array([average_precision_score(labels[:, c], scores[:, c]) for c in range(20)])
    members = {"total": counts > 0, "head": counts >= 100, "tail": counts < 20}
    members["medium"] = ~members["head"] & ~members["tail"]
    for name, mask in members.items():
        assert found.data.metrics[f"test/{name}"] == pytest.approx(precision[mask].mean(), abs=1e-12)
    assert list(per_class["average_precision"]["test"].values()) == pytest.approx(precision, abs=1e-12)


def test_what_is_finished_is_neither_trained_nor_uploaded_again_but_to_another_store(
    store, data_root, settings, empty_database, tmp_path
):
    plan = make_plan(data_root, ["erm"])
    run_plan(plan, store, settings)
    before, folder = contents(store), store.runs / plan.experiments[0].experiment.id
    files = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    again = run_plan(make_plan(data_root, ["erm"]), store, settings)
    assert (again.skipped, again.trained) == (list(plan.experiments), [])
    assert contents(store) == before
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == files
    (run,) = store.runs_of()
    assert [uploading.upload(store, plan.experiments[0], plan.name) for _ in range(2)] == [run.info.run_id] * 2
    assert contents(store) == before

    store.client.set_terminated(run.info.run_id, "RUNNING")  # an upload that was cut short
    assert run_plan(plan, store, settings).trained == []
    assert contents(store) == before

    shutil.copy(empty_database, tmp_path / "other.db")
    other = Store(root=store.root, tracking_uri=f"sqlite:///{tmp_path / 'other.db'}")
    summary = run_plan(plan, other, settings)
    assert (summary.trained, summary.not_uploaded) == ([], [])
    assert contents(other) == before
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == files


def test_what_an_earlier_version_put_at_the_last_epoch_is_not_there_twice(finished, store):
    (run,) = store.runs_of()
    whole = contents(store)
    store.client.delete_run(run.info.run_id)
    tags = {name: value for name, value in run.data.tags.items() if name != "mlflow.note.content"}
    earlier = store.client.create_run(run.info.experiment_id, start_time=run.info.start_time, tags=tags).info.run_id
    entries = read_journal(store.runs / finished)
    for name, step, time_, value in [(n, e.step, e.time, v) for e in entries for n, v in e.metrics.items()]:
        store.client.log_metric(earlier, name, value, time_, step)
    store.client.set_terminated(earlier, "FINISHED", run.info.end_time)
    before = points(store, store.client.get_run(earlier))
    assert before != points(store, run)
    assert [reason for _, reason in agree(store, find(store, everything=True))] == [""]
    (now,) = store.runs_of()
    assert (now.info.run_id, points(store, now)) == (earlier, before)
    assert now.data.metrics == run.data.metrics
    assert contents(store)[0][:6] == whole[0][:6], "it has the name and the description of today"


class Seen:
    """A second command that opens the results while a plan goes on, in a process that has not yet read them."""

    def __init__(self, root):
        self.store = open_store(root)

    def wait(self):
        """Wait until it sees a finished run, and give its method."""
        deadline = time.monotonic() + 60
        while not (runs := [run for run in self.store.runs_of() if run.info.status == "FINISHED"]):
            assert time.monotonic() < deadline, "no finished run in MLflow while the plan goes on"
            time.sleep(0.05)
        return [run.data.tags["mltbench.method"] for run in runs]


def test_a_finished_member_of_a_cohort_is_in_mlflow_while_the_others_are_scored(dataset, store, settings, monkeypatch):
    seen, said, write = [], [], running.write_outcome

    def write_when_seen(path, *given, **more):
        if list(store.runs.glob("*/weights.pt")):
            seen.append(Seen(store.root).wait())
            while not said:
                time.sleep(0.05)
        write(path, *given, **more)

    monkeypatch.setattr(running, "write_outcome", write_when_seen)
    plan = tiny_plan(["erm", "focal"])
    summary = run_plan(plan, store, settings, on_end=said.append)
    assert seen == [["erm"]]
    assert said == summary.trained == list(plan.experiments), "each ends once"
    require_each_point_once(store, plan)


WAITS = f"""
import time

waited = Path(__file__).with_name("seen")
deadline = time.monotonic() + 60
while not waited.exists() and time.monotonic() < deadline:
    time.sleep(0.05)
{PLAIN}
"""


@pytest.mark.parametrize("executor", ["here", "local", "ray"])
def test_a_finished_run_is_in_mlflow_while_the_plan_goes_on(executor, plugin, store, data_root):
    """The second experiment is trained when a second command has seen the first one."""
    if executor == "ray":
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'mltbench[ray]'")
    file = plugin("waits", WAITS, TINY, like="erm")
    settings = RunSettings(
        data_root=data_root, plugins=(str(file),), executor=executor, address="local", cohort=False, workers=1
    )
    seen = []

    def look():
        seen.extend(Seen(store.root).wait())
        file.with_name("seen").touch()

    thread = threading.Thread(target=look)
    thread.start()
    plan = tiny_plan(["erm", "waits"])
    summary = run_plan(plan, store, settings)
    thread.join()
    assert (seen, summary.trained) == (["erm"], list(plan.experiments))


@pytest.fixture(scope="module")
def server_port(tmp_path_factory, empty_database):
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_database, folder)
    with mlflow_server(folder) as port:
        yield port


@pytest.fixture
def server(server_port, monkeypatch):
    """A real MLflow server that fails as its mood says."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with FailingServer(server_port) as failing:
        yield failing


@pytest.fixture
def quick(monkeypatch):
    """Uploads are tried again at once."""
    monkeypatch.setattr(uploading, "FIRST_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(uploading, "LONGEST_WAIT_SECONDS", 0.2)


class Failing:
    """An executor under which the server is in the next mood after each job, and is asked in each."""

    def __init__(self, server, moods):
        self.server, self.moods = server, list(moods)

    def run(self, jobs):
        for job in jobs:
            yield from InProcess().run([job])
            if self.moods:
                self.server.mood = self.moods.pop(0)
                deadline = time.monotonic() + 30
                while self.server.asked[self.server.mood] < 2:
                    assert time.monotonic() < deadline, f"nobody asked the server that is {self.server.mood}"
                    time.sleep(0.02)


def test_a_server_that_fails_in_all_five_ways_in_one_run_loses_and_doubles_nothing(
    server, dataset, settings, tmp_path, quick
):
    store, plan = open_store(tmp_path / "out", server.uri), tiny_plan(overrides=TWO_EPOCHS, seeds=range(30, 37))
    summary = run_plan(plan, store, settings, executor=Failing(server, [*FAILURES, WELL]))
    assert summary.trained == list(plan.experiments)
    assert summary.not_uploaded == [], "the uploader catches up by itself"
    assert min(server.asked[mood] for mood in FAILURES) >= 2
    require_each_point_once(store, plan)
    # The test below, for one mood: a second server would take seven seconds to start.
    leaves_to_the_next_command_what_it_could_not_upload("refused", server, settings, tmp_path / "later")


@pytest.mark.soak
@pytest.mark.parametrize("mood", FAILURES[1:])
def test_a_server_that_fails_in_mid_plan_loses_and_doubles_nothing(mood, server, dataset, settings, tmp_path):
    leaves_to_the_next_command_what_it_could_not_upload(mood, server, settings, tmp_path)


def leaves_to_the_next_command_what_it_could_not_upload(mood, server, settings, folder):
    store = open_store(folder / "out", server.uri)
    first = 10 + 2 * FAILURES.index(mood)  # one server keeps the runs of all moods
    plan = tiny_plan(overrides=TWO_EPOCHS, seeds=[first, first + 1])
    before = time.monotonic()
    summary = run_plan(plan, store, settings, executor=Failing(server, [mood]))
    assert time.monotonic() - before < 60
    assert summary.trained == list(plan.experiments)
    assert (len(summary.not_uploaded) == 0) == (mood == "slow")

    server.mood = WELL
    again = run_plan(plan, store, settings)
    assert (again.trained, again.not_uploaded) == ([], [])
    assert [reason for _, reason in agree(store, find(store, everything=True)) if reason] == []
    assert find(store) == []
    require_each_point_once(store, plan)


def test_a_run_that_another_process_holds_is_uploaded_when_it_lets_go(dataset, store, settings, quick):
    plan = tiny_plan()
    (planned,) = plan.experiments
    assert run_plan(plan, store, settings).trained == [planned]
    (run,) = store.runs_of()
    store.client.delete_run(run.info.run_id)
    with RunFolder(store.runs / planned.experiment.id).hold():
        uploads = uploading.UploadThread(store, plan)
        uploads.put(planned)
        ((left, reason),) = uploads.finish(patience=3)
        assert (left, "is being run by process" in reason) == (planned, True)
    assert uploads.finish() == []
    require_each_point_once(store, plan)
