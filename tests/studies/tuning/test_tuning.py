import json
from dataclasses import replace

import numpy as np
import optuna
import pytest
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.tracking.store import TAG
from mltbench.benchmark.tracking.winners import studies_with_winners, winners_plan
from mltbench.errors import InputError
from mltbench.studies.tuning.definition import tuning
from mltbench.studies.tuning.study import TRIALS_PER_BUDGETED, StudyStorage, begin_study, join_study, result_of
from mltbench.studies.tuning.terminal import follow, studies_table, study_tables
from mltbench.studies.tuning.winners import best_trial, complete_trials, upload_winners, winners_of
from mltbench.studies.tuning.worker import run_trials


@pytest.fixture
def storage(out):
    return StudyStorage(root=out)


@pytest.fixture
def tuned(storage, setting, settings):
    """Begins a tuning, and trains its trials."""

    def tuned(methods=("db",), trials=2, **changes):
        study = begin_study(tune(setting, methods, **changes), trials, storage)
        run_trials(study, settings)
        return study

    return tuned


def tune(setting, methods=("db",), **changes):
    options = {"objective": "total", "sampler": "tpe", "seeds_per_trial": 1, "parameters": (), "prune": True}
    return tuning("t", list(methods), setting, **{**options, **changes})


def finished(study):
    return [trial for arm in study.definition.arms for trial in study.progress(arm).finished]


def test_a_tuning_trains_defaults_first_spends_its_budget_and_never_opens_the_test_split(tuned, storage):
    study = tuned(("erm", "db"), trials=3, seeds_per_trial=2)
    for arm in study.definition.arms:
        trials = study.progress(arm).finished
        first = result_of(trials[0])
        assert (trials[0].number, first["settings"], first["outcome"]) == (0, dict(arm.defaults), "complete")
        used = [result_of(trial)["images"] for trial in trials]
        assert sum(used) >= study.budget or len(used) == TRIALS_PER_BUDGETED * 3
        assert study.budget > sum(used[:-1])
        for trial in trials:
            entries = [e for name in trial.user_attrs["experiments"] for e in read_journal(storage.trials / name)]
            assert not any(name.startswith("test/") for entry in entries for name in entry.metrics)
            if result_of(trial)["outcome"] == "complete":
                scores = [entry.metrics["validation/total"] for entry in entries if entry.event == "evaluation"]
                assert len(scores) == 2
                assert trial.values == [pytest.approx(np.mean(scores))]


def test_trials_are_uploaded_once_with_their_tags_and_winners_beside_them(tuned, settings, store):
    study = tuned()
    for _ in range(2):
        assert follow(study, store, settings, lambda update: update())
    runs = store.runs_of("tiny", kind="trial")
    assert len(runs) == len(finished(study))
    assert store.runs_of("tiny") == []
    (arm,) = study.definition.arms
    for run in runs:
        tags = run.data.tags
        trial = study.arms[arm.name].get_trials()[int(tags[f"{TAG}trial"].rpartition("/")[2])]
        assert tags[f"{TAG}study"] == "t"
        assert json.loads(tags[f"{TAG}parameters"]).items() >= result_of(trial)["settings"].items()
        if result_of(trial)["outcome"] == "complete":
            assert json.loads(tags[f"{TAG}values"])["total"] == pytest.approx(trial.value)
    (winner,) = upload_winners(study, store, settings)
    assert len(store.runs_of("tiny", kind="study")) == 1
    best = max(complete_trials(study, arm), key=lambda trial: trial.value)
    assert winner.trial == best.number
    assert winner.settings == [f"{key}={value}" for key, value in result_of(best)["settings"].items()]


def test_the_same_definition_continues_and_differences_of_another_are_named(setting, storage):
    begin_study(tune(setting), 2, storage)
    study = begin_study(tune(setting), 9, storage)
    joined = join_study("t", storage)
    assert (joined.definition, joined.trials, study.trials) == (study.definition, 9, 9)
    assert joined.progress(joined.definition.arms[0]).waiting == 1
    for changes, message in (
        ({"sampler": "random"}, "sampler was tpe, now is random"),
        ({"methods": ("db", "rs")}, "arms was db@tiny, now is db@tiny, rs@tiny"),
        ({"parameters": ["method.mu"]}, r"arms.db@tiny.defaults.method.alpha was 0.1, now is None"),
    ):
        with pytest.raises(InputError, match=message):
            begin_study(tune(setting, **changes), 2, storage)
    with pytest.raises(InputError, match=r"unknown study under .*'tt'; did you mean 't'"):
        join_study("tt", storage)


def test_a_diverging_trial_is_recorded_and_the_study_continues(setting, settings, storage):
    hot = replace(setting, overrides=(*setting.overrides, "recipe.learning_rate=1e30", "recipe.clip_norm=1e30"))
    study = begin_study(tune(hot, parameters=["method.mu"], prune=False), 2, storage)
    run_trials(study, settings)
    assert [(t.state.name, result_of(t)["outcome"]) for t in finished(study)] == [("PRUNED", "diverged")] * 4
    assert "not finite" in result_of(finished(study)[0])["reason"]
    assert winners_of(study, settings) == []


def test_trials_that_the_pruner_finds_wanting_are_stopped_but_never_the_defaults(setting, settings, storage):
    study = begin_study(tune(setting, parameters=["method.mu"]), 2, storage)
    study.arms["db@tiny"].pruner = optuna.pruners.ThresholdPruner(lower=1.1)
    run_trials(study, settings)
    first, *others = [result_of(trial) for trial in finished(study)]
    assert first["outcome"] == "complete"
    assert {trial["outcome"] for trial in others} == {"pruned"}
    assert all(trial["reason"].startswith("pruned after epoch 1 with total") for trial in others)
    assert {trial["images"] for trial in others} == {first["images"] // 3}


def test_two_objectives_give_the_front_that_a_naive_loop_gives(tuned):
    study = tuned(objective="both", trials=4)
    (arm,) = study.definition.arms
    trials = complete_trials(study, arm)
    assert len(trials) == 4
    scores = {t.number: (result_of(t)["validation"]["total"], result_of(t)["validation"]["tail"]) for t in trials}
    front = set(scores)
    for number, (total, tail) in scores.items():
        if any(a >= total and b >= tail and (a, b) != (total, tail) for a, b in scores.values()):
            front.remove(number)
    _, every, best, pareto, importance = study_tables(study)
    assert {int(str(cell)) for cell in pareto.columns[0].cells} == front
    assert (every.row_count, best.row_count, importance.row_count) == (4, 2, 2)
    assert best_trial(trials, "tail").number == max(scores, key=lambda number: scores[number][1])


def test_a_grid_is_trained_point_by_point(tuned):
    study = tuned(sampler="grid", parameters=["method.mu"], trials=40)
    values = [result_of(trial)["settings"]["method.mu"] for trial in finished(study)]
    assert (values[0], sorted(values[1:])) == (0.3, [0, 0.5, 1])
    row = [str(next(iter(column.cells))) for column in studies_table(study.storage).columns]
    assert row == ["t", "tiny", "db", "4", "0", "0"]


def test_a_study_that_an_earlier_version_kept_in_a_journal_file_continues(setting, settings, storage):
    """Its running trial is trained again, a line that was cut short is left out, and its sweeps are plans today."""
    definition = tune(setting, sampler="random", parameters=["method.mu"], prune=False)
    file = storage.root / "studies" / "t" / "journal.log"
    file.parent.mkdir(parents=True)
    journal = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(file)))
    older = {**definition.as_json(), "purpose": "tune", "sweep": ""}
    for name, purpose in (("t/db@tiny", "tune"), ("s/db@tiny", "sweep")):
        study = optuna.create_study(storage=journal, study_name=name, direction="maximize")
        study.set_user_attr("definition", {**older, "purpose": purpose})
        study.set_user_attr("budget", {"trials": 2, "images": definition.budget(2)})
        study.enqueue_trial({"method.mu": 0.3}, user_attrs={"default": True})
        study.ask().suggest_float("method.mu", 0, 1)
    with file.open("ab") as lines:
        lines.write(b'{"op_code": 4, "wor')
    study = begin_study(definition, 2, storage)
    run_trials(study, settings)
    assert [trial.state.name for trial in study.arms["db@tiny"].trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert result_of(finished(study)[0])["settings"] == {"method.mu": 0.3}
    assert finished(study)[0].user_attrs["default"]
    assert not file.exists()
    with pytest.raises(InputError, match="unknown study"):
        join_study("s", storage)


def test_winners_are_judged_on_fresh_seeds_beside_their_defaults(tuned, settings, store, tmp_path):
    upload_winners(tuned(parameters=["method.mu"], prune=False, sampler="random"), store, settings)
    options = {"data_root": tmp_path, "device_type": "cpu", "word_vectors": None}
    plan = winners_plan(store, "t", seeds=[0, 1], **options)
    (winner,) = studies_with_winners(store)["t"]
    by_role = {"default": winner.default_configuration, "tuned": winner.tuned_configuration}
    for item in plan.experiments:
        assert (item.tags["from_study"], item.experiment.seed in (0, 1)) == ("t", True)
        assert item.experiment.configuration_id == by_role[item.tags["role"]]
        mu = float(winner.settings[0].partition("=")[2]) if item.tags["role"] == "tuned" else 0.3
        assert item.experiment.method.parameters["mu"] == mu
    with pytest.raises(InputError, match="seed 1000 is one that study 't' chose its winners on"):
        winners_plan(store, "t", seeds=[0, 1000], **options)
    with pytest.raises(InputError, match="unknown study with winners in MLflow 'tt'; did you mean 't'"):
        winners_plan(store, "tt", seeds=[0], **options)
