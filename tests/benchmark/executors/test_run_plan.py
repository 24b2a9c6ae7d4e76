"""What is trained together, in which order, and what becomes of it, with an executor that only writes journals."""

import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltbench.benchmark.executors import run_plan as module
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.executors.processes import Processes
from mltbench.benchmark.executors.ray_cluster import RayCluster
from mltbench.benchmark.executors.run_plan import (
    cohort_key,
    finished_in_mlflow,
    folder_of,
    form_cohorts,
    run_plan,
    split_plan,
)
from mltbench.benchmark.executors.settings import RunSettings
from mltbench.benchmark.experiments.plan import Plan, PlannedExperiment
from mltbench.benchmark.networks.initial_weights import random_weights
from mltbench.benchmark.runs.folder import RunFolder
from mltbench.benchmark.runs.journal import Journal
from mltbench.benchmark.tracking.store import Store
from mltbench.benchmark.training.check import tiny_experiment
from mltbench.benchmark.training.execution import Execution
from mltbench.errors import InputError
from mltbench.methods.catalogue import get_method
from mltbench.methods.samplers import ClassAware

RESAMPLED = tiny_experiment(get_method("rs"))
PLAIN = tiny_experiment(get_method("erm"))
GRAPH = replace(tiny_experiment(get_method("ml-gcn")), word_vectors_digest="ab" * 32)


def test_what_agrees_in_all_but_loss_head_and_optimiser_may_be_trained_together():
    resampled = [tiny_experiment(get_method(name)) for name in ("rs", "r-bce", "db", "db-focal")]
    every_image = [tiny_experiment(get_method(name)) for name in ("erm", "focal", "cb-focal")]
    vectors = [GRAPH, replace(GRAPH, word_vectors_digest="cd" * 32), replace(GRAPH, dataset="another name")]
    assert {cohort_key(experiment) for experiment in resampled} == {cohort_key(RESAMPLED)}
    assert {cohort_key(experiment) for experiment in [*every_image, *vectors]} == {cohort_key(PLAIN)}
    assert cohort_key(PLAIN) != cohort_key(RESAMPLED)
    for name in ("learning_rate", "momentum", "weight_decay", "clip_norm", "warmup_ratio", "decay_factor"):
        assert cohort_key(replace(PLAIN, training={**PLAIN.training, name: 0.7})) == cohort_key(PLAIN)
    assert cohort_key(replace(PLAIN, training={**PLAIN.training, "warmup_iterations": 7})) == cohort_key(PLAIN)
    turned = replace(RESAMPLED, training=dict(reversed(RESAMPLED.training.items())))
    assert (turned.id, cohort_key(turned)) == (RESAMPLED.id, cohort_key(RESAMPLED)), "of one id, of one key"


# What decides the batches, or the network that has their trunk.
SHARED = ("batch_size", "image_size", "precision", "neck_width", "dropout")


def test_all_else_sets_experiments_apart():
    training, method = RESAMPLED.training, RESAMPLED.method
    others = [
        replace(RESAMPLED, dataset_digest="0" * 64),
        *(replace(RESAMPLED, training={**training, name: 7}) for name in SHARED),
        replace(RESAMPLED, training={**training, "augmentation": {**training["augmentation"], "flip": True}}),
        replace(RESAMPLED, training={**training, "schedule": {"epochs": 2, "decay_after": ()}}),
        replace(RESAMPLED, method=replace(method, sampler=ClassAware(images_per_visit=1))),
        replace(RESAMPLED, method=replace(method, sampler=PLAIN.method.sampler)),
        replace(RESAMPLED, method=replace(method, schedule="plain")),
        replace(RESAMPLED, backbone="resnet18"),
        replace(RESAMPLED, weights_digest="random"),
        replace(RESAMPLED, input_format=replace(RESAMPLED.input_format, padding="same")),
        replace(RESAMPLED, seed=1),
        replace(RESAMPLED, numerics_version=1),
    ]
    assert len({cohort_key(experiment) for experiment in [RESAMPLED, *others]}) == len(others) + 1


def planned_of(experiment=PLAIN, *, images=0, file=None, title="", **tags):
    weights = replace(random_weights(), file=file)
    return PlannedExperiment(
        experiment=experiment, title=title, recipe="digits", settings=(), images=images, weights=weights, tags=tags
    )


SEEDS = [replace(PLAIN, seed=seed) for seed in range(4)]


def test_cohorts_are_alike_small_enough_and_the_longest_come_first():
    given = [
        planned_of(SEEDS[0], images=10, title="a"),
        planned_of(SEEDS[1], images=45, title="b"),
        planned_of(SEEDS[0], images=20, title="c"),
        planned_of(SEEDS[0], images=70, title="d"),
        planned_of(SEEDS[0], images=5, title="e", file=Path("x")),
        planned_of(SEEDS[0], images=7, title="f", file=Path("y")),
        planned_of(SEEDS[0], images=3, title="g", file=Path("x")),
    ]

    def titles(largest):
        return ["".join(planned.title for planned in cohort) for cohort in form_cohorts(given, largest=largest)]

    assert titles(2) == ["d", "b", "ac", "eg", "f"]
    assert titles(3) == ["acd", "b", "eg", "f"]
    assert titles(99) == ["acd", "b", "eg", "f"]
    assert titles(1) == ["a", "b", "c", "d", "e", "f", "g"], "alone, they stay in the order of the plan"


@given(kinds=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=20), largest=st.integers(2, 5))
def test_cohorts_divide_a_plan_whatever_it_holds(kinds, largest):
    planned = [planned_of(SEEDS[kind], images=images, title=str(n)) for n, (kind, images) in enumerate(kinds)]
    cohorts = form_cohorts(planned, largest=largest)
    assert sorted(int(one.title) for cohort in cohorts for one in cohort) == list(range(len(planned)))
    assert all(1 <= len(cohort) <= largest for cohort in cohorts)
    totals = [sum(one.images for one in cohort) for cohort in cohorts]
    assert totals == sorted(totals, reverse=True)
    for cohort in cohorts:
        assert len({one.experiment.seed for one in cohort}) == 1
        assert [int(one.title) for one in cohort] == sorted(int(one.title) for one in cohort)
    for seed in range(4):
        sizes = sorted((len(cohort) for cohort in cohorts if cohort[0].experiment.seed == seed), reverse=True)
        assert sizes[1:] == [] or set(sizes[:-1]) == {largest}, "no more cohorts than needed"


def test_workers_share_a_plan_evenly_and_a_cohort_fits_a_device(tmp_path):
    def largest(experiments, **settings):
        return RunSettings(data_root=tmp_path, **settings).largest_cohort(experiments)

    assert [largest(n) for n in (0, 1, 5, 16, 17, 1000)] == [1, 1, 5, 16, 16, 16]
    assert [largest(n, workers=2, executor="local") for n in (1, 4, 5, 31, 33)] == [1, 2, 3, 16, 16]
    assert largest(3, workers=4) == 1
    assert largest(9, cohort=False) == 1


def test_the_executor_is_the_one_that_is_named(tmp_path):
    def made(executor):
        return RunSettings(data_root=tmp_path, executor=executor, workers=3).make_executor()

    assert [type(made(name)) for name in ("here", "local", "ray")] == [InProcess, Processes, RayCluster]
    with pytest.raises(InputError, match="unknown executor 'locl'; did you mean 'local'"):
        made("locl")


class InMlflow:
    """The runs that MLflow has: id, status, and the study of a trial."""

    def __init__(self, *runs):
        self.runs, self.asked = runs, []

    def runs_of(self, store, dataset, *, kind):
        self.asked.append((dataset, kind))
        return [
            SimpleNamespace(
                info=SimpleNamespace(status=status),
                data=SimpleNamespace(
                    tags={"mltbench.experiment_id": found} | ({"mltbench.study": study} if study else {})
                ),
            )
            for found, status, study in self.runs
        ]


@pytest.fixture
def in_mlflow(monkeypatch):
    def in_mlflow(*runs):
        found = InMlflow(*runs)
        monkeypatch.setattr(Store, "runs_of", lambda store, dataset, *, kind: found.runs_of(store, dataset, kind=kind))
        return found

    in_mlflow()
    return in_mlflow


@pytest.fixture
def store(tmp_path):
    return Store(root=tmp_path, tracking_uri="http://nowhere")


def plan_of(*experiments, scores_test=True, **tags):
    planned = tuple(planned_of(experiment, title=f"seed {experiment.seed}", **tags) for experiment in experiments)
    return Plan(name="a plan", dataset="tiny", experiments=planned, scores_test=scores_test)


def test_what_mlflow_has_as_finished_is_finished_and_trials_are_those_of_their_study(in_mlflow, store):
    a, b, c, d = (experiment.id for experiment in SEEDS)
    mlflow = in_mlflow((a, "FINISHED", ""), (b, "FAILED", ""), (c, "RUNNING", ""), (d, "FINISHED", "other"))
    assert finished_in_mlflow(plan_of(*SEEDS), store) == {a, d}
    trials = in_mlflow((a, "FINISHED", "mine"), (b, "KILLED", "mine"), (c, "FINISHED", "other"), (d, "FINISHED", ""))
    assert finished_in_mlflow(plan_of(*SEEDS, scores_test=False, study="mine"), store) == {a}
    assert finished_in_mlflow(plan_of(*SEEDS, scores_test=False), store) == {d}, "a sweep has no study"
    assert (mlflow.asked, trials.asked) == ([("tiny", "experiment")], [("tiny", "trial")] * 2)


def ended(folder, event, **details):
    """Let a run folder say that its run has ended so."""
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.journal.append("start")
    folder.journal.append(event, step=1, **details)


def test_a_plan_lacks_what_neither_mlflow_nor_a_folder_has_as_finished(in_mlflow, store):
    plan = plan_of(*SEEDS)
    first, second, third, fourth = plan.experiments
    in_mlflow((first.experiment.id, "FINISHED", ""), (third.experiment.id, "FAILED", ""))
    ended(folder_of(second, plan, store), "finished")
    ended(folder_of(third, plan, store), "stopped")
    assert split_plan(plan, store) == ([first, second], [third, fourth])
    assert folder_of(second, plan, store).path == store.root / "runs" / second.experiment.id
    trials = replace(plan, scores_test=False)
    assert folder_of(second, trials, store).path == store.root / "trials" / second.experiment.id


class Uploads:
    """Stands for the thread that uploads."""

    made = ()

    def __init__(self, store, plan):
        self.plan, self.asked, self.patience = plan, [], None
        Uploads.made = (*Uploads.made, self)

    def put(self, planned):
        self.asked.append(planned)

    def finish(self, *, patience):
        self.patience = patience
        return [(planned, "no answer") for planned in self.asked[:1]]


class Writes:
    """An executor that lets each run end as it is told, by seed: an event, or what is called for it."""

    def __init__(self, ends=None):
        self.ends, self.jobs = ends or {}, []

    def run(self, jobs):
        for job in jobs:
            self.jobs.append(job)
            for member in job.members:
                folder = RunFolder(member.folder)
                seed = folder.planned()[0].experiment.seed
                end = self.ends.get(seed, "finished")
                if callable(end):
                    end(folder)
                else:
                    ended(folder, end, reason=f"{end} {seed}")
            yield job


@pytest.fixture
def quick(monkeypatch, in_mlflow):
    monkeypatch.setattr(module, "UploadThread", Uploads)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(Uploads, "made", ())
    return in_mlflow


@pytest.fixture
def settings(tmp_path):
    return RunSettings(data_root=tmp_path / "data", cohort=False)


def test_every_experiment_ends_once_in_the_group_that_it_belongs_to(quick, store, settings):
    plan = plan_of(*SEEDS)
    first, second, third, fourth = plan.experiments
    quick((first.experiment.id, "FINISHED", ""))
    ended(folder_of(second, plan, store), "finished")
    executor, seen = Writes({2: "failed", 3: "finished"}), []
    summary = run_plan(plan, store, settings, executor=executor, on_end=seen.append)
    assert (summary.skipped, summary.trained, summary.elsewhere) == ([first, second], [fourth], [])
    assert summary.failed == [(third, "failed 2")]
    assert seen == [third, fourth]
    (uploads,) = Uploads.made
    assert uploads.asked == [second, third, fourth], "what is only in its folder comes first"
    assert summary.not_uploaded == [(second, "no answer")]
    assert (uploads.plan, uploads.patience) == (plan, module.PATIENCE_SECONDS)
    assert [len(job.members) for job in executor.jobs] == [1, 1]
    assert executor.jobs[0].execution == settings.execution
    assert executor.jobs[0].execution.score_test


def test_a_plan_that_has_nothing_left_opens_nothing(quick, store, settings):
    plan = plan_of(*SEEDS)
    quick(*((experiment.id, "FINISHED", "") for experiment in SEEDS))
    summary = run_plan(plan, store, settings, executor=None)
    assert summary.skipped == list(plan.experiments)
    assert (Uploads.made, list(store.root.iterdir())) == ((), [])


def test_what_is_finished_in_folders_alone_is_uploaded_though_nothing_is_left_to_train(quick, store, settings):
    plan = plan_of(*SEEDS[:2])
    first, second = plan.experiments
    quick((first.experiment.id, "FINISHED", ""))
    ended(folder_of(second, plan, store), "finished")
    executor = Writes()
    summary = run_plan(plan, store, settings, executor=executor)
    assert (summary.skipped, executor.jobs) == ([first, second], [])
    assert Uploads.made[0].asked == [second]


def test_the_experiments_of_a_search_never_score_the_test_split(quick, store, settings):
    executor = Writes()
    for execution in (Execution(), Execution(evaluate_every=2, threads=3)):
        plan = plan_of(*SEEDS[:2], scores_test=False, study=str(execution.threads))
        run_plan(plan, store, replace(settings, execution=execution, restart=True), executor=executor)
    assert {job.execution for job in executor.jobs} == {Execution(score_test=False)}
    run_plan(plan_of(SEEDS[2], scores_test=False), store, replace(settings, execution=execution), executor=executor)
    assert executor.jobs[-1].execution == Execution(evaluate_every=2, threads=3, score_test=False)
    assert {Path(member.folder).parent for job in executor.jobs for member in job.members} == {store.root / "trials"}


def test_a_job_says_all_that_a_worker_needs(quick, store, settings, tmp_path):
    file = tmp_path / "weights.pt"
    planned = replace(planned_of(SEEDS[1]), weights=replace(random_weights(), file=file))
    given = replace(settings, plugins=["mine.py"], word_vectors=tmp_path / "glove.txt", restart=True)
    job = given.job([planned, planned_of(SEEDS[2])], tmp_path / "runs")
    assert [member.experiment_json for member in job.members] == [SEEDS[1].to_json(), SEEDS[2].to_json()]
    assert [member.folder for member in job.members] == [str(tmp_path / "runs" / one.id) for one in SEEDS[1:3]]
    assert [member.weights for member in job.members] == [str(file), None]
    assert (job.data_root, job.plugins, job.word_vectors) == (
        str(tmp_path / "data"), ("mine.py",), str(tmp_path / "glove.txt")
    )  # fmt: skip
    assert (job.restart, job.execution) == (True, settings.execution)
    assert settings.job([planned], tmp_path).word_vectors is None
    assert [each.members for each in job.one_by_one()] == [(member,) for member in job.members]
    assert [each.restart for each in job.one_by_one()] == [True, True]


def test_members_of_a_cohort_end_when_they_are_finished_not_when_all_are(quick, store, settings):
    plan = plan_of(PLAIN, GRAPH, replace(PLAIN, seed=1))
    first, second, third = plan.experiments
    seen = []

    def end(folder):
        if folder.name != first.experiment.id and first not in seen:
            deadline = time.monotonic() + 20
            while first not in seen:
                assert time.monotonic() < deadline
                time.sleep(0.005)
        ended(folder, "finished")

    executor = Writes({0: end})
    summary = run_plan(plan, store, replace(settings, cohort=True), executor=executor, on_end=seen.append)
    assert [len(job.members) for job in executor.jobs] == [2, 1]
    assert seen == summary.trained == [first, second, third]
    assert Uploads.made[0].asked == seen


def test_a_member_that_has_ended_and_is_held_for_its_upload_is_not_waited_for(quick, store, settings):
    plan = plan_of(PLAIN, GRAPH)
    first, second = plan.experiments
    seen = []
    with ExitStack() as upload:

        def end(folder):
            ended(folder, "finished")
            if folder.name == second.experiment.id:
                deadline = time.monotonic() + 20
                while len(seen) < 2:
                    assert time.monotonic() < deadline
                    time.sleep(0.005)
                upload.enter_context(folder_of(first, plan, store).hold())

        summary = run_plan(
            plan, store, replace(settings, cohort=True), executor=Writes({0: end}), on_end=seen.append,
            on_wait=lambda busy: pytest.fail(f"waits for {busy}"),
        )  # fmt: skip
    assert summary.trained == seen == [first, second]


def test_what_another_process_trains_or_ended_in_the_meantime_is_not_trained_here(quick, store, settings):
    plan = plan_of(*SEEDS)
    first, second, third, fourth = plan.experiments
    ended(folder_of(third, plan, store), "failed", reason="long ago")
    time.sleep(0.01)
    with ExitStack() as other:
        other.enter_context(folder_of(second, plan, store).hold())

        def meanwhile(folder):
            ended(folder, "finished")
            ended(folder_of(fourth, plan, store), "failed", reason="in another process")

        def wait(busy):
            assert [planned for planned, _ in busy] == [second]
            assert all("process" in who for _, who in busy)
            ended(folder_of(second, plan, store), "finished")
            other.close()

        executor = Writes({0: meanwhile})
        summary = run_plan(plan, store, settings, executor=executor, on_wait=wait)
    assert [Path(member.folder).name for job in executor.jobs for member in job.members] == [
        first.experiment.id, third.experiment.id
    ]  # fmt: skip
    assert (summary.trained, summary.elsewhere) == ([first, third], [second])
    assert summary.failed == [(fourth, "in another process")]


def test_a_run_that_another_process_took_first_is_waited_for(quick, store, settings):
    plan, waited = plan_of(SEEDS[0]), []
    (planned,) = plan.experiments
    with ExitStack() as other:

        def wait(busy):
            waited.append([one for one, _ in busy])
            ended(folder_of(planned, plan, store), "finished")
            other.close()

        executor = Writes({0: lambda folder: other.enter_context(folder.hold())})
        summary = run_plan(plan, store, settings, executor=executor, on_wait=wait)
    assert (waited, summary.trained, summary.elsewhere, summary.failed) == ([[planned]], [], [planned], [])


def test_a_plan_that_is_interrupted_uploads_what_has_ended_and_soon_gives_up(quick, store, settings):
    def interrupt(folder):
        raise KeyboardInterrupt

    plan = plan_of(*SEEDS)
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, store, settings, executor=Writes({1: interrupt}))
    (uploads,) = Uploads.made
    assert uploads.asked == list(plan.experiments[:1])
    assert uploads.patience == module.BRIEF_PATIENCE_SECONDS < module.PATIENCE_SECONDS
    assert not [thread for thread in threading.enumerate() if thread.name == "finished members"]
    assert all((folder_of(planned, plan, store).path / "labels.json").exists() for planned in plan.experiments)


def test_an_experiment_without_a_last_word_has_failed_and_is_not_uploaded_unless_it_began(quick, store, settings):
    plan = plan_of(*SEEDS[:2])
    first, second = plan.experiments
    executor = Writes({0: lambda folder: None, 1: lambda folder: Journal(folder.path).append("start")})
    summary = run_plan(plan, store, settings, executor=executor)
    assert summary.failed == [(first, "it ended without a reason"), (second, "it ended without a reason")]
    assert Uploads.made[0].asked == [second]
