"""Which trial wins by which score, and what is kept of it."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_studies import add_trial, made_up_arm, made_up_definition, made_up_study
from mltbench.benchmark.experiments.plan import build_plan
from mltbench.benchmark.runs.journal import Journal
from mltbench.benchmark.tracking.store import TAG
from mltbench.benchmark.tracking.winners import studies_with_winners
from mltbench.benchmark.training.check import tiny_dataset
from mltbench.studies.tuning.definition import tuning
from mltbench.studies.tuning.terminal import study_as_json, study_tables, summary_tables
from mltbench.studies.tuning.winners import (
    best_trial,
    complete_trials,
    score_of,
    trainings_of,
    upload_winners,
    winners_of,
)
from optuna.trial import TrialState

BOTH = {"objective": "both", "sampler": "tpe", "seeds_per_trial": 2, "parameters": (), "prune": False}


def cells(table):
    return {column.header: [str(cell) for cell in column.cells] for column in table.columns}


@pytest.fixture
def study():
    """Three complete trials: the second is best in total, the third in the tail; others would be better."""
    study = made_up_study(made_up_definition(made_up_arm("erm"), made_up_arm("db"), objective="both"))
    _, arm = study.definition.arms
    scores = {"total": 0.4, "head": 0.8, "medium": 0.41, "tail": 0.3}
    add_trial(study, arm, "complete", attributes={"default": True}, settings={"method.mu": 0.3}, **scores)
    add_trial(study, arm, "diverged", total=0.9, tail=0.9)
    add_trial(study, arm, "complete", settings={"method.mu": 0.1}, total=0.5, head=0.7, medium=0.3, tail=0.25)
    add_trial(study, arm, "complete", state=TrialState.FAIL, total=0.9, tail=0.9)
    add_trial(study, arm, "complete", settings={"method.mu": 0.2}, total=0.45, head=0.6, medium=0.2, tail=0.35)
    add_trial(study, arm, "pruned", total=0.9, tail=0.9)
    return study


def test_only_trials_that_were_trained_to_the_end_can_win(study):
    erm, db = study.definition.arms
    assert [trial.number for trial in complete_trials(study, db)] == [0, 2, 4]
    assert complete_trials(study, erm) == []


def test_the_largest_score_of_each_kind_wins(study):
    trials = complete_trials(study, study.definition.arms[1])
    assert {value: best_trial(trials, value).number for value in ("total", "head", "medium", "tail")} == {
        "total": 2, "head": 0, "medium": 0, "tail": 4,
    }  # fmt: skip
    assert [score_of(trials[1], value) for value in ("total", "tail")] == [0.5, 0.25]
    assert score_of(trials[1], "nothing") != score_of(trials[1], "nothing")
    assert best_trial([], "total") is None


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.sampled_from(["total", "tail"]))
def test_of_equal_trials_the_first_wins(scores, value):
    def trial(number, score):
        other = {"total": "tail", "tail": "total"}[value]
        result = {"validation": {value: score / 4, other: -score}}
        state = optuna.trial.create_trial(state=TrialState.COMPLETE, value=0.0, user_attrs={"result": result})
        state.number = number
        return state

    best = best_trial([trial(number, score) for number, score in enumerate(scores)], value)
    assert scores[best.number] == max(scores)
    assert max(scores) not in scores[: best.number]


def test_what_came_of_a_study_names_the_best_trials_beside_the_defaults(study):
    best, *fronts = summary_tables(study)
    shown = cells(best)
    assert shown["method"] == ["erm", "erm", "db", "db"]
    assert [shown[name][2:] for name in ("objective", "trial", "best", "defaults", "trials", "images used")] == [
        ["total", "tail"], ["2", "4"], ["50.00", "35.00"], ["40.00", "30.00"], ["5", "5"], ["1,000", "1,000"],
    ]  # fmt: skip
    assert shown["settings"][2:] == ["mu=0.1", "mu=0.2"]
    # Each is best in one of two scores, and the defaults in none.
    assert (cells(fronts[1])["trial"], cells(fronts[1])["total"]) == (["2", "4"], ["50.00", "45.00"])
    trials = study_as_json(study)["trials"]
    assert trials["erm@toy"] == []
    shown = [(one["trial"], one["default"], one["outcome"]) for one in trials["db@toy"]]
    assert shown == [(0, True, "complete"), (1, False, "diverged"), (2, False, "complete"), (4, False, "complete"),
                     (5, False, "pruned")]  # fmt: skip


def test_every_trial_is_shown_with_its_scores_and_the_best_are_marked(study):
    definition, erm, db, *_ = study_tables(study)
    assert cells(definition)["method"] == ["erm", "db"]
    assert [cells(definition)[name][1] for name in ("setting", "from", "searched")] == [
        "method.mu", "0.3", "0 to 1, linear",
    ]  # fmt: skip
    assert erm.row_count == 0
    shown = cells(db)
    assert shown["trial"] == ["0", "1", "2*", "4*", "5"]
    assert shown["outcome"] == ["complete (defaults)", "diverged", "complete", "complete", "pruned"]
    assert [shown[name][2] for name in ("total", "head", "medium", "tail")] == ["50.00", "70.00", "30.00", "25.00"]
    assert (shown["medium"][1], shown["settings"][3]) == ("-", "mu=0.2")
    assert db.title == "db on toy: 5 trials, 1,000 training images"


def test_importance_is_what_good_trials_have_in_common(study):
    arm = study.definition.arms[1]
    assert [table.title.partition(":")[0] for table in summary_tables(study)][-1] != "Importance"
    generator = np.random.default_rng(0)
    for _ in range(40):
        mu, rate = generator.random(2).tolist()
        # What is good in total has a large mu, what is bad a large rate; it is the other way round with the tail.
        total, tail = (mu if mu > 0.8 else -rate), (rate if rate > 0.8 else -mu)
        add_trial(study, arm, params={"method.mu": mu, "recipe.learning_rate": rate}, total=total, tail=tail)
    *_, importance = summary_tables(study)
    shown = cells(importance)
    assert (shown["method"], shown["objective"]) == (["db", "db"], ["total", "tail"])
    first = [text.split()[0] for text in shown["settings, most important first"]]
    assert first == ["mu", "learning_rate"]


@pytest.fixture
def tuned(setting, tmp_path):
    """A tuning of ERM and DB on the tiny set, with made-up trials of DB alone."""
    study = made_up_study(tuning("t", ["erm", "db"], setting, **BOTH), root=tmp_path)
    arm = study.definition.arms[1]
    add_trial(study, arm, settings={"method.mu": 0.3}, attributes={"default": True}, total=0.4, tail=0.3)
    add_trial(study, arm, settings={"method.mu": 0.7, "recipe.learning_rate": 0.1}, total=0.45, tail=0.2)
    return study


def configuration(overrides):
    (planned,) = build_plan(tiny_dataset(), ["db"], seeds=[0], recipe="digits-smoke", overrides=overrides).experiments
    return planned.experiment.configuration_id


def test_a_winner_is_kept_with_how_it_was_chosen_and_the_configurations_to_compare(tuned, setting, settings):
    total, tail = winners_of(tuned, settings)
    for winner, objective, trial, value in ((total, "total", 1, 0.45), (tail, "tail", 0, 0.3)):
        assert (winner.method, winner.dataset, winner.recipe) == ("db", "tiny", "digits-smoke")
        assert (winner.objective, winner.trial, winner.value) == (objective, trial, value)
        assert (winner.seeds, winner.fixed) == ([1000, 1001], list(setting.overrides))
        assert winner.default_configuration == configuration(setting.overrides)
    assert total.settings == ["method.mu=0.7", "recipe.learning_rate=0.1"]
    assert total.tuned_configuration == configuration([*setting.overrides, *total.settings])
    assert tail.settings == ["method.mu=0.3"]
    # Its defaults are best by the tail.
    assert tail.tuned_configuration == tail.default_configuration != total.tuned_configuration


def test_winners_are_read_back_from_mlflow_and_a_study_has_one_run(tuned, setting, store, settings):
    before = upload_winners(tuned, store, settings)
    assert studies_with_winners(store) == {"t": before}
    add_trial(tuned, tuned.definition.arms[1], settings={"method.mu": 0.9}, total=0.6, tail=0.1)
    after = upload_winners(tuned, store, settings)
    assert [(winner.objective, winner.trial) for winner in after] == [("total", 2), ("tail", 0)]
    assert studies_with_winners(store) == {"t": after}
    (run,) = store.runs_of("tiny", kind="study")
    named = ("kind", "study", "purpose", "sweep", "dataset", "study_dataset")
    tags = [run.data.tags[f"{TAG}{name}"] for name in named]
    assert run.data.tags["mlflow.source.name"] == "mltbench"
    assert (run.info.status, tags) == ("FINISHED", ["study", "t", "tune", "", "tiny", "tiny"])
    assert "total 60.00 (trial 2): mu=0.9" in run.data.tags["mlflow.note.content"]
    other = made_up_study(tuning("u", ["db"], setting, **BOTH), root=tuned.storage.root)
    upload_winners(other, store, settings)
    assert len(store.runs_of("tiny", kind="study")) == 2
    assert studies_with_winners(store)["u"] == []


def test_trainings_of_a_trial_are_those_that_lie_here(tuned, settings):
    arm = tuned.definition.arms[1]
    planned = tuned.definition.experiments(arm, {"method.mu": 0.7}, settings)
    ids = [item.experiment.id for item in planned]
    scores = {"total": 0.6, "head": 0.8, "tail": 0.1}
    attributes = {"experiments": ids}
    trial = add_trial(tuned, arm, settings={"method.mu": 0.7}, attributes=attributes, **scores)
    assert trainings_of(tuned, arm, trial, settings) == []
    for number, name in enumerate(ids, start=1):
        folder = tuned.storage.trials / name
        folder.mkdir(parents=True)
        # A folder without a journal is of a training that was never begun.
        assert len(trainings_of(tuned, arm, trial, settings)) == number - 1
        Journal(folder).append("start")
        found = trainings_of(tuned, arm, trial, settings)
        assert [item.experiment.id for item in found] == ids[:number]
    tags = dict(found[0].tags)
    held = {"recipe.batch_size": 8, "recipe.plain.epochs": 3, "recipe.resampled.epochs": 3}
    assert json.loads(tags.pop("parameters")) == {"method.mu": 0.7, **held}
    assert json.loads(tags.pop("values")) == {"total": 0.6, "tail": 0.1}
    assert tags == {
        "study": "t", "trial": "db@tiny/2", "outcome": "complete", "purpose": "tune", "sweep": "",
        "study_dataset": "tiny", "default": "false",
    }  # fmt: skip
    pruned = add_trial(tuned, arm, "pruned", settings={"method.mu": 0.7}, attributes=attributes | {"default": True})
    (first, _) = trainings_of(tuned, arm, pruned, settings)
    assert (first.tags["outcome"], first.tags["values"], first.tags["default"]) == ("pruned", "{}", "true")
    # Where the default of what is searched was set, the trial's own value is the one that it was trained with.
    own = replace(arm, fixed=(*arm.fixed, "method.mu=0.5"))
    assert {item.tags["parameters"] for item in trainings_of(tuned, own, trial, settings)} == {
        found[0].tags["parameters"]
    }
    unknown = SimpleNamespace(user_attrs={})
    assert trainings_of(tuned, arm, unknown, settings) == []
