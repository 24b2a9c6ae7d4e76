"""How a study begins, continues and is joined; whose numbers are drawn; when trials are stopped or queued again."""

import multiprocessing
import re
from datetime import datetime, timedelta
from types import SimpleNamespace

import optuna
import pytest
import sqlalchemy
from made_up_studies import add_trial, made_up_arm, made_up_definition
from mltbench.errors import InputError
from mltbench.methods.search_space import Choice
from mltbench.studies.tuning import study as module
from mltbench.studies.tuning.study import (
    StudyStorage,
    begin_study,
    join_study,
    queue_again,
    quiet,
    result_of,
    scored_every,
    studies_in,
)
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial


@pytest.fixture
def storage(monkeypatch, tmp_path):
    """Studies in memory."""
    database = InMemoryStorage()
    monkeypatch.setattr(StudyStorage, "open", lambda storage: database)
    monkeypatch.setattr(StudyStorage, "open_existing", lambda storage: database)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return StudyStorage(root=tmp_path, grace=30)


def waiting(study, arm):
    trials = study.arms[arm.name].get_trials(states=[TrialState.WAITING])
    return [(trial.system_attrs["fixed_params"], trial.user_attrs) for trial in trials]


def test_the_defaults_are_trial_0_and_a_grid_waits_behind_them(storage):
    erm, db = made_up_arm("erm"), made_up_arm("db", space={"method.nu": Choice(options=("a", "b"))}, defaults={
        "method.nu": "b"})  # fmt: skip
    study = begin_study(made_up_definition(erm, db), 3, storage)
    assert waiting(study, erm) == [({"method.mu": 0.3}, {"default": True})]
    assert waiting(study, db) == [({"method.nu": "b"}, {"default": True})]
    grid = begin_study(made_up_definition(erm, db, name="grid", sampler="grid"), 3, storage)
    points = sorted(point["method.mu"] for point, attributes in waiting(grid, erm)[1:] if not attributes)
    assert (waiting(grid, erm)[0], points) == (({"method.mu": 0.3}, {"default": True}), [0.0, 0.5, 1.0])
    assert [point for point, _ in waiting(grid, db)[1:]] == grid.grid(db)
    few = begin_study(made_up_definition(erm, name="few", sampler="grid"), 1, storage)
    assert len(waiting(few, erm)) == 1 + 2


def test_a_study_continues_with_another_budget_and_can_be_joined(storage):
    definition = made_up_definition(made_up_arm("erm"), made_up_arm("db"))
    begin_study(definition, 2, storage)
    begin_study(made_up_definition(name="u"), 5, storage)
    again = begin_study(definition, 9, storage)
    assert (again.trials, again.budget) == (9, 9 * 2 * 100)
    assert [len(waiting(again, arm)) for arm in definition.arms] == [1, 1]
    joined = join_study("t", storage)
    assert (joined.definition, joined.trials, list(joined.arms)) == (definition, 9, ["erm@toy", "db@toy"])
    assert {name: trials for name, (_, trials) in studies_in(storage.open()).items()} == {"t": 9, "u": 5}
    with pytest.raises(InputError, match="sampler was tpe, now is random"):
        begin_study(made_up_definition(made_up_arm("erm"), made_up_arm("db"), sampler="random"), 2, storage)
    with pytest.raises(InputError, match=r"unknown study under .*'tt'; did you mean 't'"):
        join_study("tt", storage)


def test_what_is_maximised_has_a_direction_and_a_name(storage):
    study = begin_study(made_up_definition(objective="both"), 1, storage).arms["db@toy"]
    assert study.directions == [optuna.study.StudyDirection.MAXIMIZE] * 2
    assert study.metric_names == ["validation total", "validation tail"]
    # The larger one is the better one.
    for value in (0.2, 0.4):
        study.add_trial(create_trial(values=[value, value]))
    assert [trial.values for trial in study.best_trials] == [[0.4, 0.4]]


@pytest.mark.parametrize(
    ("sampler", "kind"), [("random", "RandomSampler"), ("tpe", "TPESampler"), ("grid", "TPESampler")]
)
def test_the_sampler_is_the_one_that_was_asked_for(storage, sampler, kind):
    study = begin_study(made_up_definition(sampler=sampler), 1, storage)
    assert type(study.arms["db@toy"].sampler).__name__ == kind


def test_no_random_numbers_are_drawn_twice(storage, monkeypatch):
    """Another worker, another number of trials and another seed of the sampler draw others, the same draw the same."""
    definition = made_up_definition(sampler="random")
    begin_study(definition, 1, storage)

    def drawn(worker, name="t"):
        monkeypatch.setattr(multiprocessing.current_process(), "_name", worker)
        sampler = join_study(name, storage).arms["db@toy"].sampler
        trial = optuna.create_study(sampler=sampler).ask()
        return trial.suggest_float("mu", 0, 1)

    first = drawn("worker-1")
    assert first == drawn("worker-1")
    begin_study(made_up_definition(name="other", sampler="random", sampler_seed=1), 1, storage)
    others = [drawn("worker-2"), drawn("worker-21"), drawn("MainProcess"), drawn("worker-1", "other")]
    study = join_study("t", storage)
    add_trial(study, definition.arms[0])
    others.append(drawn("worker-1"))
    assert len({first, *others}) == 6


@pytest.mark.parametrize(("epochs", "every"), [(1, 1), (7, 1), (8, 1), (15, 1), (16, 2), (40, 5), (80, 10)])
def test_a_run_that_may_be_pruned_is_scored_about_eight_times(epochs, every):
    assert scored_every(epochs) == every


@pytest.mark.parametrize(
    ("epochs", "changes", "least"),
    [
        (3, {}, 2), (8, {}, 2), (40, {}, 10), (80, {}, 20),
        # Too short, or not to be pruned.
        (2, {}, None), (1, {}, None), (40, {"prune": False}, None), (40, {"objective": "both"}, None),
    ],
)  # fmt: skip
def test_hyperband_prunes_from_the_second_score_on(storage, monkeypatch, epochs, changes, least):
    made = []
    monkeypatch.setattr(
        optuna.pruners, "HyperbandPruner", lambda **given: made.append(given) or optuna.pruners.NopPruner()
    )
    begin_study(made_up_definition(made_up_arm(epochs=epochs), **changes), 1, storage)
    expected = {"min_resource": least, "max_resource": epochs, "reduction_factor": 3}
    assert made == ([] if least is None else [expected])


@pytest.mark.parametrize("state", list(TrialState))
def test_only_trials_that_ended_have_a_result(state):
    trial = SimpleNamespace(state=state, user_attrs={"result": {"outcome": "complete"}})
    assert bool(result_of(trial)) == (state.name in ("COMPLETE", "PRUNED"))
    trial.user_attrs = {}
    assert result_of(trial) == {}


def test_a_trial_that_died_before_its_first_sign_of_life_is_queued_again(storage):
    study = begin_study(made_up_definition(made_up_arm("erm"), made_up_arm("db")), 4, storage)
    trials = study.arms["db@toy"]
    for begun, params in ((31, {}), (29, {}), (31, {"method.mu": 0.7})):
        space = {"method.mu": optuna.distributions.FloatDistribution(0, 1)} if params else {}
        trial = create_trial(state=TrialState.RUNNING, params=params, distributions=space, user_attrs={"n": begun})
        trial.datetime_start = datetime.now() - timedelta(seconds=begun)
        trials.add_trial(trial)
    study.retry_lost()
    # The defaults, which wait, then one that was silent for longer than the grace, and its copy at the end.
    assert [trial.state.name for trial in trials.trials] == ["WAITING", "FAIL", "RUNNING", "RUNNING", "WAITING"]
    assert trials.trials[-1].user_attrs == {"n": 31}


def test_a_trial_that_is_queued_again_keeps_its_values_and_counts_as_lost(storage):
    study = begin_study(made_up_definition(), 4, storage).arms["db@toy"]
    trial = study.ask()
    assert trial.suggest_float("method.mu", 0, 1) == 0.3
    queue_again(study, study.trials[0])
    lost, copy = study.trials
    assert (lost.state, copy.state, copy.user_attrs) == (TrialState.FAIL, TrialState.WAITING, {"default": True})
    assert study.ask().suggest_float("method.mu", 0, 1) == 0.3


@pytest.fixture
def opened(monkeypatch):
    """What databases are opened with."""
    made = []

    def open_one(url, **options):
        made.append({"url": url, **options})
        return SimpleNamespace(engine=sqlalchemy.create_engine("sqlite://"))

    monkeypatch.setattr(module, "RDBStorage", open_one)
    return made


def test_a_lost_trial_is_queued_again_three_times_at_most(opened, tmp_path):
    StudyStorage(root=tmp_path).open()
    StudyStorage(root=tmp_path, grace=30, url="postgresql://user@host/studies").open()
    StudyStorage(root=tmp_path, grace=3, url="postgresql+psycopg://user@host/studies").open()
    assert [one["url"] for one in opened] == [
        f"sqlite:///{tmp_path / 'studies.db'}", *["postgresql+psycopg://user@host/studies"] * 2,
    ]  # fmt: skip
    assert [(one["grace_period"], one["heartbeat_interval"]) for one in opened] == [(60, 10), (30, 5), (3, 1)]
    # A server that was started anew has closed the connections that are kept.
    assert [one["engine_kwargs"].get("pool_pre_ping") for one in opened] == [None, True, True]
    for lost_before, queued in ((0, True), (2, True), (3, False)):
        study = optuna.create_study()
        history = {"system_attrs": {"retry_history": list(range(lost_before))}} if lost_before else {}
        study.add_trial(create_trial(state=TrialState.RUNNING, **history))
        with quiet():
            opened[0]["heartbeat_stale_trial_callback"](study, study.trials[0])
        assert (len(study.trials) == 2) == queued


def test_a_study_is_made_in_a_file_by_its_beginning_alone(opened, tmp_path):
    storage = StudyStorage(root=tmp_path)
    assert (storage.trials, storage.open_existing(), opened) == (tmp_path / "trials", None, [])
    assert not list(tmp_path.iterdir())
    (tmp_path / "studies.db").touch()
    storage.open_existing()
    assert len(opened) == 1
    StudyStorage(root=tmp_path / "nowhere", url="postgresql://host/studies").open_existing()
    assert (len(opened), (tmp_path / "nowhere").exists()) == (2, False)


@pytest.mark.parametrize(
    ("url", "place"),
    [(None, "studies.db"), ("postgresql://user:secret@host/studies", "postgresql://user:***@host/studies")],
)
def test_a_database_that_cannot_be_opened_is_named_without_its_password(url, place, monkeypatch, tmp_path):
    def refuse(url, **options):
        raise OSError(f"no route to {url}\nmore")

    monkeypatch.setattr(module, "RDBStorage", refuse)
    with pytest.raises(InputError, match=f"the studies in .*{re.escape(place)} cannot be opened: no route") as caught:
        StudyStorage(root=tmp_path, url=url).open()
    assert "secret" not in str(caught.value)
    assert "more" not in str(caught.value)


def test_every_tuning_in_a_journal_file_is_copied_once_and_what_ran_there_waits(monkeypatch, tmp_path):
    database = InMemoryStorage()
    database.engine = sqlalchemy.create_engine("sqlite://")
    monkeypatch.setattr(module, "RDBStorage", lambda url, **options: database)
    (tmp_path / "studies" / "s").mkdir(parents=True)
    file = tmp_path / "studies" / "s" / "journal.log"
    journal = JournalStorage(JournalFileBackend(str(file)))
    for name, purpose in (("s/erm", "tune"), ("s/db", "tune"), ("a sweep", "sweep")):
        study = optuna.create_study(storage=journal, study_name=name, direction="maximize")
        study.set_user_attr("definition", {"purpose": purpose})
        study.add_trial(create_trial(value=0.5, user_attrs={"of": name}))
        study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs={"of": name}))
    optuna.create_study(storage=database, study_name="s/db")  # left by a process that was killed here
    StudyStorage(root=tmp_path).open()
    assert sorted(study.study_name for study in database.get_all_studies()) == ["s/db", "s/erm"]
    for name in ("s/erm", "s/db"):
        trials = optuna.load_study(study_name=name, storage=database).trials
        assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "WAITING"]
        assert {trial.user_attrs["of"] for trial in trials} == {name}
    assert [path.name for path in file.parent.iterdir()] == ["journal.log.copied"]
    StudyStorage(root=tmp_path).open()
    assert len(database.get_all_studies()) == 2
