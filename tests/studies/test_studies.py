import dataclasses
import json
import random
import time

import numpy as np
import optuna
import pytest
from mltbench.benchmark.executors.run_plan import Surroundings
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.tracking.store import TAG
from mltbench.benchmark.tracking.winners import studies_with_winners, winners_plan
from mltbench.benchmark.training.check import tiny_dataset
from mltbench.benchmark.training.execution import Execution
from mltbench.datasets.dataset import Dataset
from mltbench.datasets.registry import DatasetEntry, register_dataset
from mltbench.errors import InputError
from mltbench.studies.sweeps.registry import Sweep, get_sweep, list_sweeps
from mltbench.studies.tuning.definition import StudyDefinition, equal_budget
from mltbench.studies.tuning.designs import Setting, sweeping, tuning
from mltbench.studies.tuning.leases import Leases, queue_again
from mltbench.studies.tuning.open_study import TRIALS_PER_BUDGETED, begin_study, join_study, result_of
from mltbench.studies.tuning.space import rounded
from mltbench.studies.tuning.tables import importance_table
from mltbench.studies.tuning.upload import bring, study_run
from mltbench.studies.tuning.winners import announce_winners, best_trial, complete_trials, pareto_front, winners_of
from mltbench.studies.tuning.worker import laboratory_of, work

SMALL = ("recipe.batch_size=8", "recipe.plain.epochs=3", "recipe.resampled.epochs=3")


@pytest.fixture
def sealed(own_registrations):
    """The tiny set, whose test split nobody may open."""
    tiny = tiny_dataset()

    def refuse():
        raise AssertionError("a study opened the test split")

    sealed = Dataset(name="tiny", classes=tiny.classes, digests=tiny.digests, openers={**tiny.openers, "test": refuse})
    entry = DatasetEntry(
        name="tiny", summary="", source="", open=lambda root: sealed, recipe="digits-smoke", backbone="digits-resnet"
    )
    register_dataset(entry)
    return sealed


@pytest.fixture
def laboratory(sealed, tmp_path):
    surroundings = Surroundings(data_root=tmp_path, execution=Execution(score_test=False))
    return laboratory_of(tmp_path, surroundings)


@pytest.fixture
def setting(laboratory):
    return Setting(dataset="tiny", open_dataset=laboratory.open_dataset, overrides=SMALL)


def tune(setting, methods=("db",), **changes):
    options = {"objective": "total", "sampler": "tpe", "seeds_per_trial": 1, "parameters": (), "prune": True}
    return tuning("t", list(methods), setting, **{**options, **changes})


def begin(definition, root, trials=2, seeds=1):
    return begin_study(definition, equal_budget(definition.arms, trials, seeds), root, None)


def outcomes(study):
    return [
        (arm.method, trial.number, result_of(trial)["outcome"])
        for arm in study.definition.arms
        for trial in study.progress(arm).finished
    ]


def test_a_definition_survives_the_way_through_json(setting):
    for definition in (tune(setting, ("db-focal", "ml-gcn")), sweeping("s", get_sweep("sampling"), setting, seeds=[0])):
        assert StudyDefinition.from_json(json.loads(json.dumps(definition.as_json()))) == definition


def test_a_tuning_trains_defaults_first_spends_its_budget_and_never_opens_the_test_split(laboratory, setting, tmp_path):
    study = begin(tune(setting, ("erm", "db"), seeds_per_trial=2), tmp_path, trials=3, seeds=2)
    work(study, laboratory)
    for arm in study.definition.arms:
        finished = study.progress(arm).finished
        first = result_of(finished[0])
        assert finished[0].number == 0
        assert first["settings"] == dict(arm.defaults)
        assert first["outcome"] == "complete"
        used = [result_of(trial)["images"] for trial in finished]
        assert sum(used) >= study.budget.images or len(used) == TRIALS_PER_BUDGETED * 3
        assert study.budget.images > sum(used[:-1])
        for trial in finished:
            folders = [laboratory.trials / name for name in trial.user_attrs["experiments"]]
            journals = [read_journal(folder) for folder in folders]
            assert not any(name.startswith("test/") for entries in journals for e in entries for name in e.metrics)
            if result_of(trial)["outcome"] == "complete":
                marks = [
                    e.metrics["validation/total"] for entries in journals for e in entries if e.event == "evaluation"
                ]
                assert len(marks) == 2
                assert trial.values == [pytest.approx(np.mean(marks))]


def test_trials_arrive_in_mlflow_once_with_their_tags_and_winners_beside_them(laboratory, setting, store, tmp_path):
    study = begin(tune(setting, ("db",)), tmp_path)
    work(study, laboratory)
    brought = bring(study, store, laboratory)
    assert brought.trials == len(outcomes(study))
    assert bring(study, store, laboratory).trials == 0
    for path in (study.folder / "uploaded").glob("db*"):
        path.unlink()
    bring(study, store, laboratory)
    runs = store.runs_of("tiny", kind="trial")
    assert len(runs) == brought.trials
    assert store.runs_of("tiny") == []
    assert store.finished("tiny") == set()
    (arm,) = study.definition.arms
    for run in runs:
        tags = run.data.tags
        trial = study.arms[arm.name].get_trials()[int(tags[f"{TAG}trial"].rpartition("/")[2])]
        assert tags[f"{TAG}study"] == "t"
        assert json.loads(tags[f"{TAG}parameters"]).items() >= result_of(trial)["settings"].items()
        if result_of(trial)["outcome"] == "complete":
            assert json.loads(tags[f"{TAG}values"])["total"] == pytest.approx(trial.value)
    (winner,) = announce_winners(study, store, laboratory)
    best = max(complete_trials(study, arm), key=lambda trial: trial.value)
    assert winner.trial == best.number
    assert winner.settings == [f"{key}={value}" for key, value in result_of(best)["settings"].items()]


def test_a_name_with_quotes_finds_its_run_again(setting, store, tmp_path):
    definition = dataclasses.replace(tune(setting), name="""it's "mine\"""")
    study = begin(definition, tmp_path)
    run = study_run(study, store, "tiny")
    assert study_run(study, store, "tiny") == run
    assert study_run(begin(tune(setting), tmp_path), store, "tiny") != run


def test_the_same_definition_goes_on_and_another_one_is_named(setting, tmp_path):
    begin(tune(setting), tmp_path)
    study = begin(tune(setting), tmp_path, trials=9)
    (arm,) = study.definition.arms
    assert study.budget.trials == join_study("t", tmp_path, None).budget.trials == 9
    assert study.progress(arm).waiting == 1
    with pytest.raises(InputError, match="sampler was tpe, now is random"):
        begin(tune(setting, sampler="random"), tmp_path)
    with pytest.raises(InputError, match="arms was db@tiny, now is db@tiny, rs@tiny"):
        begin(tune(setting, ("db", "rs")), tmp_path)
    with pytest.raises(InputError, match=r"arms.db@tiny.defaults.method.alpha was 0.1, now is None"):
        begin(tune(setting, parameters=["method.mu"]), tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objective": "tale"}, "unknown objective 'tale'; did you mean 'tail'"),
        ({"sampler": "bayes"}, "unknown sampler 'bayes'"),
        ({"parameters": ["method.mue"]}, "unknown parameter to search 'method.mue'; did you mean 'method.mu'"),
        ({"parameters": ["method.ldam_margin"], "methods": ("db", "ldam")}, "db has none of method.ldam_margin"),
    ],
)
def test_what_cannot_be_searched_is_an_error(setting, changes, words):
    methods = changes.pop("methods", ("db",))
    with pytest.raises(InputError, match=words):
        tune(setting, methods, **changes)


def test_a_diverging_trial_is_recorded_and_the_study_goes_on(laboratory, setting, tmp_path):
    hot = dataclasses.replace(setting, overrides=(*SMALL, "recipe.learning_rate=1e30", "recipe.clip_norm=1e30"))
    definition = tune(hot, parameters=["method.mu"], prune=False)
    study = begin(definition, tmp_path)
    work(study, laboratory)
    assert len(outcomes(study)) == 4
    assert {outcome for _, _, outcome in outcomes(study)} == {"diverged"}
    (arm,) = study.definition.arms
    assert all(trial.state.name == "PRUNED" for trial in study.progress(arm).finished)
    assert "not finite" in result_of(study.progress(arm).finished[0])["reason"]
    assert winners_of(study, laboratory) == []


def test_two_objectives_give_the_front_that_a_naive_loop_gives(laboratory, setting, tmp_path):
    study = begin(tune(setting, objective="both"), tmp_path, trials=4)
    work(study, laboratory)
    (arm,) = study.definition.arms
    trials = complete_trials(study, arm)
    assert len(trials) == 4
    marks = {t.number: (result_of(t)["validation"]["total"], result_of(t)["validation"]["tail"]) for t in trials}
    front = set()
    for number, (total, tail) in marks.items():
        beaten = False
        for a, b in marks.values():
            beaten |= a >= total and b >= tail and (a > total or b > tail)
        front |= set() if beaten else {number}
    assert {trial.number for trial in pareto_front(study, arm)} == front
    assert importance_table(study).row_count == 2
    assert best_trial(trials, "tail").number == max(marks, key=lambda number: marks[number][1])


def test_a_grid_is_trained_point_by_point(laboratory, setting, tmp_path):
    definition = tune(setting, sampler="grid", parameters=["method.mu"])
    study = begin(definition, tmp_path, trials=40)
    work(study, laboratory)
    (arm,) = study.definition.arms
    values = [result_of(trial)["settings"]["method.mu"] for trial in study.progress(arm).finished]
    assert values[0] == 0.3
    assert sorted(values[1:]) == [0, 0.5, 1]


def test_a_sweep_trains_points_times_seeds_and_shares_them_with_other_studies(laboratory, setting, store, tmp_path):
    sweep = Sweep(name="x", summary="", reference="", methods=("r-bce",), grid={"method.mu": (0.1, 0.3)})
    study = begin(sweeping("x", sweep, setting, seeds=[0, 1]), tmp_path)
    work(study, laboratory)
    (arm,) = study.definition.arms
    shown = [(result_of(t)["settings"]["method.mu"], t.user_attrs["seeds"]) for t in study.progress(arm).finished]
    assert sorted(shown) == [(0.1, [0]), (0.1, [1]), (0.3, [0]), (0.3, [1])]
    more = begin(sweeping("x", sweep, setting, seeds=[0, 1, 2]), tmp_path)
    assert more.progress(arm).waiting == 2
    work(more, laboratory)

    def written():
        return {path.parent.name: path.stat().st_mtime_ns for path in laboratory.trials.glob("*/journal.jsonl")}

    before = written()
    other = begin(sweeping("steps", get_sweep("stepwise"), setting, seeds=[0]), tmp_path)
    work(other, laboratory)
    assert written().items() >= before.items()
    bring(more, store, laboratory)
    bring(other, store, laboratory)
    runs = store.runs_of("tiny", kind="trial")
    ids = [run.data.tags[f"{TAG}experiment_id"] for run in runs]
    assert len(runs) == 6 + 4
    assert len(set(ids)) == 6 + 4 - 1


def test_every_sweep_has_valid_points_that_hold_the_papers_choice(setting):
    for sweep in list_sweeps():
        if not sweep.variants:
            for arm in sweeping("s", sweep, setting, seeds=[0]).arms:
                assert len({str(point) for point in arm.points}) == len(arm.points)
                held = {key.partition("=")[0] for key in arm.fixed}
                if "method.kappa" not in held:
                    assert dict(arm.defaults) in [dict(point) for point in arm.points]


def test_suggestions_are_rounded_to_what_is_trained():
    assert rounded(0.123456) == 0.1235
    assert rounded(1e-5) == 1e-5


def study_of_one_trial(tmp_path):
    study = optuna.create_study()
    study.enqueue_trial({"x": 0.5}, user_attrs={"default": True})
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    return study, trial, Leases(tmp_path, grace=60)


def test_a_held_trial_is_left_alone_and_a_dead_ones_is_queued_once(tmp_path):
    study, trial, leases = study_of_one_trial(tmp_path)
    with leases.hold(study, trial.number):
        assert leases.take_over(study) == []
        (lease,) = leases.folder.glob("*.json")
        holder = json.loads(lease.read_text())
        lease.write_text(json.dumps({**holder, "process": 2**22 + random.randrange(1000)}))
        assert leases.take_over(study) == [0]
        assert leases.take_over(study) == []
    states = [t.state.name for t in study.trials]
    assert states == ["FAIL", "WAITING"]
    assert study.trials[1].params == {"x": 0.5}
    assert study.trials[1].user_attrs == {"default": True}
    queue_again(study, study.trials[0], max_retries=3)
    assert len(study.trials) == 2


def test_a_silent_holder_of_another_machine_loses_its_trial_after_the_grace(tmp_path):
    study, trial, leases = study_of_one_trial(tmp_path)
    with leases.hold(study, trial.number):
        (lease,) = leases.folder.glob("*.json")
        lease.write_text(json.dumps({"process": 1, "host": "elsewhere"}))
        assert leases.take_over(study) == []
        leases.grace = 0.05
        time.sleep(0.1)
        assert leases.take_over(study) == [0]


def test_a_line_cut_short_does_not_spoil_the_journal(setting, tmp_path):
    study = begin(tune(setting), tmp_path)
    journal = study.folder / "journal.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 4, "wor')
    again = join_study("t", tmp_path, None)
    (arm,) = again.definition.arms
    again.arms[arm.name].enqueue_trial({})
    assert join_study("t", tmp_path, None).progress(arm).waiting == 2


def test_winners_are_judged_on_fresh_seeds_beside_their_defaults(laboratory, setting, store, tmp_path):
    study = begin(tune(setting, ("db",), parameters=["method.mu"], prune=False, sampler="random"), tmp_path)
    work(study, laboratory)
    announce_winners(study, store, laboratory)
    options = {"data_root": tmp_path, "device_type": "cpu", "word_vectors": None}
    plan = winners_plan(store, "t", seeds=[0, 1], **options)
    (winner,) = studies_with_winners(store)["t"]
    by_role = {"default": winner.default_configuration, "tuned": winner.tuned_configuration}
    for item in plan.experiments:
        assert item.tags["from_study"] == "t"
        assert item.experiment.configuration_id == by_role[item.tags["role"]]
        assert item.experiment.seed in (0, 1)
        mu = float(winner.settings[0].partition("=")[2]) if item.tags["role"] == "tuned" else 0.3
        assert item.experiment.method.parameters["mu"] == mu
    with pytest.raises(InputError, match="seed 1000 is one that study 't' chose its winners on"):
        winners_plan(store, "t", seeds=[0, 1000], **options)
    with pytest.raises(InputError, match="unknown study with winners in MLflow 'tt'; did you mean 't'"):
        winners_plan(store, "tt", seeds=[0], **options)
