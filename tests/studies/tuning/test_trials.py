"""What a trial trains and what is kept of it. Trainings are made up: their scores follow from their settings."""

import json
import math
import time
from pathlib import Path

import optuna
import pytest
from mltbench.benchmark.experiments.experiment import Experiment
from mltbench.benchmark.runs.folder import RunFolder
from mltbench.benchmark.training.execution import ExecutionChangedError, StoppedEarly
from mltbench.studies.tuning import worker as module
from mltbench.studies.tuning.definition import tuning
from mltbench.studies.tuning.study import StudyStorage, begin_study, result_of
from mltbench.studies.tuning.worker import run_trials
from optuna.storages import InMemoryStorage

OPTIONS = {
    "objective": "total",
    "sampler": "random",
    "seeds_per_trial": 1,
    "parameters": ("method.mu",),
    "prune": False,
}
# Images of an epoch of the tiny set with re-sampling.
IMAGES = 16


class MadeUp:
    """In the place of training: journals as runs leave them, and a note of what was asked for."""

    def __init__(self):
        self.asked, self.seen, self.bad = [], [], {}

    def __call__(self, job, *, on_epoch):
        (member,) = job.members
        experiment, folder = Experiment.from_json(member.experiment_json), RunFolder(member.folder)
        self.asked.append((experiment.seed, experiment.method.parameters["mu"], job.execution, job.restart))
        if folder.state().is_finished:
            return
        assert not job.execution.score_test
        folder.path.mkdir(parents=True)
        (folder.path / "weights.pt").write_text("large")
        folder.journal.append("start")
        every, epochs = job.execution.evaluate_every, experiment.training["schedule"]["epochs"]
        for epoch in range(1, epochs + 1):
            scores = self.scores(experiment, epoch)
            metrics = scores if every and (epoch % every == 0 or epoch == epochs) else {}
            folder.journal.append("epoch", step=epoch, metrics={"train/loss": 1.0, **metrics}, images=IMAGES * epoch)
            self.seen.append((experiment.seed, epoch))
            try:
                on_epoch(epoch, metrics)
            except StoppedEarly as stop:
                folder.journal.append("stopped", step=epoch, reason=str(stop))
                return
        if reason := self.bad.get(experiment.seed):
            folder.journal.append("failed", step=epochs, reason=reason)
            return
        # The test split is scored by nobody; if it were, its numbers would be far from these.
        folder.journal.append("evaluation", step=epochs, metrics=scores)
        folder.journal.append("cost", step=epochs, metrics={"cost/train_seconds": 5.0})
        folder.journal.append("finished", step=epochs)

    @staticmethod
    def scores(experiment, epoch):
        """Total is best at mu = .6, the tail at mu = 0; seeds differ by .01, epochs by .1."""
        mu, seed = experiment.method.parameters["mu"], experiment.seed - 1000
        total = 0.5 - (mu - 0.6) ** 2 + 0.01 * seed - 0.1 * (3 - epoch)
        return {"validation/total": total, "validation/tail": 0.3 - 0.1 * mu + 0.03 * seed}


@pytest.fixture
def made_up(monkeypatch):
    trainings = MadeUp()
    monkeypatch.setattr(module, "run_cohort", trainings)
    return trainings


@pytest.fixture
def begin(setting, tmp_path, monkeypatch):
    """Begins a study of DB's mu whose trials are kept in memory."""
    database = InMemoryStorage()
    monkeypatch.setattr(StudyStorage, "open", lambda storage: database)
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def begin(trials=3, *, name="t", methods=("db",), **changes):
        definition = tuning(name, list(methods), setting, **OPTIONS | changes)
        return begin_study(definition, trials, StudyStorage(root=tmp_path))

    return begin


def finished(study):
    return [trial for arm in study.definition.arms for trial in study.progress(arm).finished]


def test_a_trial_trains_every_seed_and_is_worth_their_mean_on_the_validation_split(begin, made_up, settings):
    study = begin(seeds_per_trial=3)
    run_trials(study, settings)
    trials = finished(study)
    mus = [trial.params["method.mu"] for trial in trials]
    assert [mu for _, mu, *_ in made_up.asked] == [float(f"{mu:.4g}") for mu in mus for _ in range(3)]
    assert [seed for seed, *_ in made_up.asked] == [1000, 1001, 1002] * 3
    assert (len(trials), mus[0]) == (3, 0.3)
    for trial, (_, mu, *_) in zip(trials, made_up.asked[::3], strict=True):
        result = result_of(trial)
        assert result["settings"] == {"method.mu": mu}
        assert result["validation"] == pytest.approx({"total": 0.51 - (mu - 0.6) ** 2, "tail": 0.33 - 0.1 * mu})
        assert trial.values == [result["validation"]["total"]]
        assert (result["outcome"], result["reason"], result["images"]) == ("complete", "", 3 * 3 * IMAGES)
        folders = [study.storage.trials / name for name in trial.user_attrs["experiments"]]
        entries = [RunFolder(folder).entries() for folder in folders]
        seconds = sum(own[-1].time - own[0].time for own in entries) / 1000
        assert result["seconds"] == pytest.approx(seconds, abs=6e-4)
        assert not any((folder / "weights.pt").exists() for folder in folders)
    # Nothing is pruned, so that nothing need be scored by epoch.
    assert {execution.evaluate_every for *_, execution, _ in made_up.asked} == {0}


def test_what_is_maximised_is_the_objective(begin, made_up, settings):
    for objective, names in (("tail", ["tail"]), ("both", ["total", "tail"])):
        study = begin(objective=objective, name=objective)
        run_trials(study, settings)
        for trial in finished(study):
            assert trial.values == [result_of(trial)["validation"][name] for name in names]
            assert trial.values[-1] == pytest.approx(0.3 - 0.1 * trial.params["method.mu"], abs=1e-4)


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [("ValueError: boom", "failed"), ("DivergedError: loss not finite", "diverged"), ("it diverged", "diverged")],
)
def test_a_training_that_fails_ends_its_trial_without_a_score(begin, made_up, settings, reason, outcome):
    made_up.bad = {1001: reason}
    study = begin(1, seeds_per_trial=3)
    run_trials(study, settings)
    result = result_of(finished(study)[0])
    assert (result["outcome"], result["reason"], result["validation"]) == (outcome, reason, {})
    # Both seeds that were trained count; the third is never begun.
    assert (result["images"], finished(study)[0].state.name) == (2 * 3 * IMAGES, "PRUNED")
    assert [seed for seed, *_ in made_up.asked][:3] == [1000, 1001, 1000]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_not_finite_makes_no_trial_complete(begin, made_up, settings, value):
    good = made_up.scores
    made_up.scores = lambda experiment, epoch: (
        good(experiment, epoch) | ({"validation/tail": value} if experiment.seed == 1000 else {})
    )
    study = begin(1, seeds_per_trial=2)
    run_trials(study, settings)
    result = result_of(finished(study)[0])
    assert (result["outcome"], result["reason"]) == ("diverged", "a score was not finite")
    assert result["validation"] == {}


def test_a_group_that_one_seed_lacks_has_no_mean(begin, made_up, settings):
    good = made_up.scores
    made_up.scores = lambda experiment, epoch: {
        name: score
        for name, score in good(experiment, epoch).items()
        if (name, experiment.seed) != ("validation/tail", 1001)
    }
    study = begin(1, seeds_per_trial=2)
    run_trials(study, settings)
    assert set(result_of(finished(study)[0])["validation"]) == {"total"}


class Pruner(optuna.pruners.BasePruner):
    """Stops every trial after some epochs; notes what it saw."""

    def __init__(self, after):
        self.after, self.seen = after, {}

    def prune(self, study, trial):
        self.seen[trial.number] = dict(trial.intermediate_values)
        return trial.last_step >= self.after


def test_a_trial_is_pruned_by_the_scores_of_its_first_seed_and_the_defaults_never_are(begin, made_up, settings):
    study = begin(2, seeds_per_trial=2, prune=True)
    pruner = study.arms["db@tiny"].pruner = Pruner(after=2)
    run_trials(study, settings)
    first, *others = finished(study)
    assert result_of(first)["outcome"] == "complete"
    assert first.intermediate_values == pytest.approx({1: 0.21, 2: 0.31, 3: 0.41})
    assert 0 not in pruner.seen
    # Two of three epochs of one of two seeds: a third of a trial, so that it takes three to reach a second full one.
    assert len(others) == 3
    for trial in others:
        mu, result = result_of(trial)["settings"]["method.mu"], result_of(trial)
        score = 0.4 - (mu - 0.6) ** 2
        assert (result["outcome"], result["images"]) == ("pruned", 2 * IMAGES)
        assert result["reason"] == f"pruned after epoch 2 with total {100 * score:.1f}"
        assert trial.intermediate_values == pytest.approx({1: score - 0.1, 2: score})
        assert trial.state.name == "PRUNED"
    assert [seed for seed, *_ in made_up.asked] == [1000, 1001, 1000, 1000, 1000]
    # The first seed is scored by epoch, the others at their ends alone.
    assert [execution.evaluate_every for *_, execution, _ in made_up.asked] == [1, 0, 1, 1, 1]


def test_the_pruner_is_told_what_is_maximised(begin, made_up, settings):
    study = begin(1, objective="tail", prune=True)
    study.arms["db@tiny"].pruner = Pruner(after=9)
    run_trials(study, settings)
    assert finished(study)[0].intermediate_values == pytest.approx(dict.fromkeys((1, 2, 3), 0.27))


def test_a_training_that_another_study_finished_is_taken_as_it_is(begin, made_up, settings):
    run_trials(begin(1), settings)
    trained = len(made_up.seen)
    study = begin(1, name="u", prune=True)
    study.arms["db@tiny"].pruner = Pruner(after=0)
    run_trials(study, settings)
    (first,) = finished(study)
    assert len(made_up.seen) == trained == 3
    assert (result_of(first)["outcome"], result_of(first)["images"]) == ("complete", 3 * IMAGES)
    assert first.values == pytest.approx([0.41])


def test_epochs_that_were_scored_before_count_for_the_pruning_of_later_trials(begin, made_up, settings):
    run_trials(begin(1, prune=True), settings)
    study = begin(1, name="u", prune=True)
    run_trials(study, settings)
    (again,) = finished(study)
    assert again.intermediate_values == pytest.approx({1: 0.21, 2: 0.31, 3: 0.41})


def test_a_run_that_cannot_resume_here_is_trained_from_the_beginning(begin, made_up, settings, monkeypatch):
    def refuse_once(job, *, on_epoch):
        if not job.restart:
            raise ExecutionChangedError("other threads")
        return made_up(job, on_epoch=on_epoch)

    monkeypatch.setattr(module, "run_cohort", refuse_once)
    study = begin(1)
    run_trials(study, settings)
    assert [restart for *_, restart in made_up.asked] == [True]
    assert result_of(finished(study)[0])["outcome"] == "complete"


def test_no_trial_is_begun_after_the_deadline_and_each_that_ends_is_told(begin, made_up, settings):
    study, told = begin(3), []
    run_trials(study, settings, time.time() - 1)
    assert (finished(study), study.running()) == ([], 0)
    run_trials(study, settings, time.time() + 600, on_trial=lambda: told.append(len(finished(study))))
    assert told == [1, 2, 3]


def test_a_trial_that_is_one_too_many_trains_nothing(begin, made_up, settings, monkeypatch):
    study = begin(1)
    run_trials(study, settings)
    (arm,) = study.definition.arms
    # Another worker begins the last trial at the same time.
    wanted = iter([arm, None])
    monkeypatch.setattr(type(study), "next_arm", lambda study: next(wanted))
    run_trials(study, settings)
    trials = study.arms[arm.name].get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL"]
    assert len(made_up.asked) == 1


def test_an_interrupted_trial_is_queued_again_with_its_values(begin, made_up, settings, monkeypatch):
    def interrupt(job, *, on_epoch):
        raise KeyboardInterrupt

    study = begin(1)
    monkeypatch.setattr(module, "run_cohort", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_trials(study, settings)
    lost, again = study.arms["db@tiny"].get_trials()
    assert (lost.state.name, again.state.name) == ("FAIL", "WAITING")
    assert again.system_attrs["fixed_params"] == lost.params == {"method.mu": 0.3}
    assert again.user_attrs["default"]
    monkeypatch.setattr(module, "run_cohort", made_up)
    run_trials(study, settings)
    assert [result_of(trial)["settings"] for trial in finished(study)] == [{"method.mu": 0.3}]


def test_an_error_of_the_training_ends_the_worker_and_is_no_lost_trial(begin, settings, monkeypatch):
    calls = []

    def fail(job, *, on_epoch):
        calls.append(job)
        assert len(calls) == 1, "it begins another trial"
        raise ValueError("shapes do not fit")

    monkeypatch.setattr(module, "run_cohort", fail)
    with pytest.raises(ValueError, match="shapes do not fit"):
        run_trials(begin(2), settings)


def test_methods_of_a_study_are_trained_in_turn(begin, made_up, settings):
    study = begin(2, methods=("r-bce", "db"))
    methods = []
    run_trials(
        study,
        settings,
        on_trial=lambda: methods.append([len(study.progress(a).finished) for a in study.definition.arms]),
    )
    assert methods == [[1, 0], [1, 1], [2, 1], [2, 2]]
    assert Path(study.storage.trials).is_dir()
    assert json.dumps(result_of(finished(study)[0]))
