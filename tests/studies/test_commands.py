"""What the options of `mltbench study` become; nothing is trained."""

import time

import pytest
from mltbench.studies import commands as module


@pytest.fixture
def asked(monkeypatch, own_folder):
    """What a command hands on: to the definition, the study, its workers and the sweeps."""
    asked = {}

    def note(name, result=None):
        def call(*given, **more):
            asked[name] = (given, more)
            return result

        return call

    def follow(study, store, settings, run):
        asked["settings"] = settings
        run("on poll")
        return True

    monkeypatch.setattr(module, "tuning", note("tuning", "a definition"))
    monkeypatch.setattr(module, "show_search", note("shown"))
    monkeypatch.setattr(module, "begin_study", note("begun", "a study"))
    monkeypatch.setattr(module, "join_study", note("joined", "a study"))
    monkeypatch.setattr(module, "run_workers", note("workers"))
    monkeypatch.setattr(module, "run_trials", note("trials"))
    monkeypatch.setattr(module, "plan_sweep", note("sweep", []))
    monkeypatch.setattr(module, "run_plans", note("plans", False))
    monkeypatch.setattr(module, "follow", follow)
    return asked


def test_a_tuning_has_forty_trials_of_one_seed_by_the_total_unless_it_is_told_otherwise(asked, call, out):
    before = time.time()
    assert call("study", "tune", "--method", "db", "--method", "erm", "--out", out)[0] == 0
    (name, methods, setting), options = asked["tuning"]
    assert (name, methods, setting.dataset, setting.recipe) == ("tune-digits-mlt", ["db", "erm"], "digits-mlt", None)
    assert options == {"objective": "total", "sampler": "tpe", "seeds_per_trial": 1, "parameters": (), "prune": True}
    (definition, trials, place), _ = asked["begun"]
    assert (definition, trials, place.root, place.url, place.grace) == ("a definition", 40, out.resolve(), None, 60)
    assert asked["workers"][0][2:] == (None, "on poll")
    # Trials never score the test split.
    assert (asked["settings"].execution.score_test, asked["settings"].execution.device) == (False, "cpu")
    more = (
        "--trials 7 --seeds-per-trial 2 --objective both --sampler grid --parameter method.mu --no-pruning --hours 2 "
    )
    more += "--workers 3 --grace 5 --name t --dataset tiny --recipe digits --override method.alpha=1"
    assert call("study", "tune", "--method", "db", "--out", out, *more.split())[0] == 0
    (name, _, setting), options = asked["tuning"]
    assert (name, setting.dataset, setting.recipe, setting.overrides) == ("t", "tiny", "digits", ("method.alpha=1",))
    assert options == {
        "objective": "both", "sampler": "grid", "seeds_per_trial": 2, "parameters": ("method.mu",), "prune": False,
    }  # fmt: skip
    assert (asked["begun"][0][1], asked["begun"][0][2].grace, asked["settings"].workers) == (7, 5, 3)
    assert before + 7200 <= asked["workers"][0][2] <= time.time() + 7200
    assert asked["workers"][0][1] is asked["settings"]


def test_a_dry_run_begins_nothing(asked, call, out):
    assert call("study", "tune", "--method", "db", "--out", out, "--dry-run")[0] == 0
    assert asked["shown"][0] == ("a definition", 40)
    assert not {"begun", "workers"} & set(asked)


def test_a_worker_joins_a_study_for_some_hours(asked, call, out):
    before = time.time()
    assert (
        call("study", "worker", "t", "--out", out, "--hours", "0.5", "--storage", "postgresql://host/studies")[0] == 0
    )
    (name, place), _ = asked["joined"]
    assert (name, place.url) == ("t", "postgresql://host/studies")
    (study, settings, deadline), more = asked["trials"]
    assert (study, settings.execution.score_test, more) == ("a study", False, {"on_trial": "on poll"})
    assert before + 1800 <= deadline <= time.time() + 1800


def test_a_sweep_has_the_seeds_that_tables_have(asked, call, out):
    assert call("study", "run", "mu", "--out", out, "--dry-run")[0] == 0
    (sweep, setting), more = asked["sweep"]
    assert (sweep.name, setting.dataset, more) == ("mu", "digits-mlt", {"seeds": [0, 1, 2], "name": None})
    assert asked["plans"][1] == {"dry_run": True}
    words = "--seeds 4,9, --name mine --dataset tiny --override recipe.batch_size=8 --dry-run"
    assert call("study", "run", "beta", "--out", out, *words.split())[0] == 0
    (sweep, setting), more = asked["sweep"]
    assert (sweep.name, setting.dataset, setting.overrides) == ("beta", "tiny", ("recipe.batch_size=8",))
    assert more == {"seeds": [4, 9], "name": "mine"}
    assert call("study", "run", "bet", "--out", out)[0] == 2
