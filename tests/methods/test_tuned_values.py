"""Hyper-parameters that were tuned on a dataset: from a study's file to the experiments of a plan."""

import json

import pytest
from mltbench import create_loss, get_method
from mltbench.benchmark.experiments.plan import build_plan
from mltbench.benchmark.runs.folder import RunFolder
from mltbench.methods import catalogue
from mltbench.methods.catalogue import TABLES, TUNED, tuned_settings


def trial(total, outcome="complete", **settings):
    named = {f"{'recipe' if name == 'learning_rate' else 'method'}.{name}": value for name, value in settings.items()}
    return {"outcome": outcome, "validation": {"total": total, "tail": 1 - total}, "settings": named}


@pytest.fixture
def study_file(tmp_path):
    """A study whose best complete trial of `db` is neither the first nor the last, nor the best of those pruned."""
    trials = {
        "db@tiny": [
            trial(0.5, mu=0.1),
            trial(0.9, "pruned", mu=0.2),
            trial(0.7, mu=0.4, learning_rate=0.05),
            trial(0.7, mu=0.5),
            trial(0.6, mu=0.6),
        ],
        "erm@tiny": [trial(0.3, learning_rate=0.3)],
        "rs@tiny": [trial(0.8, "failed", learning_rate=0.4)],
    }
    file = tmp_path / "tiny.json"
    file.write_text(json.dumps({"definition": {"recipe": "digits", "objective": "total"}, "trials": trials}))
    return file


@pytest.fixture
def tuned(monkeypatch, study_file):
    monkeypatch.setattr(catalogue, "TUNED", {"tiny": study_file})


def test_the_first_of_the_best_complete_trials_wins(study_file):
    assert tuned_settings(study_file) == {
        "db": ("digits", {"method.mu": 0.4, "recipe.learning_rate": 0.05}),
        "erm": ("digits", {"recipe.learning_rate": 0.3}),
    }


def test_the_objective_of_the_study_says_which_is_best(study_file):
    found = json.loads(study_file.read_text())
    found["definition"]["objective"] = "tail"
    other = study_file.with_name("other.json")
    other.write_text(json.dumps(found))
    assert tuned_settings(other)["db"][1] == {"method.mu": 0.1}


@pytest.mark.usefixtures("tuned")
def test_a_method_has_the_values_that_were_tuned_on_its_dataset_and_the_papers_elsewhere():
    assert get_method("db", dataset="tiny").parameters == get_method("db").parameters | {"mu": 0.4}
    assert get_method("db", dataset="tiny").recipes == {"digits": {"learning_rate": 0.05}}
    assert get_method("rs", dataset="tiny") == get_method("rs")
    assert get_method("db", dataset="coco-mlt").parameters["mu"] == 0.2


@pytest.mark.usefixtures("tuned")
def test_a_plan_trains_with_them_by_the_recipe_that_they_were_tuned_with(dataset):
    def planned(**more):
        (one,) = build_plan(dataset, ["db"], seeds=[0], **more).experiments
        return one

    own = planned()
    assert (own.experiment.training["learning_rate"], own.experiment.method.parameters["mu"]) == (0.05, 0.4)
    assert (own.settings, own.label) == ((), "DB")
    other = planned(recipe="digits-paper")
    assert (other.experiment.training["learning_rate"], other.experiment.method.parameters["mu"]) == (0.02, 0.4)
    # The paper's, by name and by overrides, are one experiment; its label says in what it differs, or whose it has.
    paper = planned(values="voc-mlt")
    assert (paper.settings, paper.values, paper.label) == ((), "voc-mlt", "DB (values=voc-mlt)")
    assert paper.command.endswith("--recipe digits --values voc-mlt")
    spelt = planned(overrides=["mu=0.3", "learning_rate=0.2"])
    assert (spelt.settings, spelt.values) == (("method.mu=0.3", "recipe.learning_rate=0.2"), "")
    assert spelt.label == "DB (mu=0.3, learning_rate=0.2)"
    assert spelt.experiment.id == paper.experiment.id != own.experiment.id
    mixed = planned(values="voc-mlt", overrides=["kappa=0.1"])
    assert (mixed.label, mixed.values) == ("DB (values=voc-mlt, kappa=0.1)", "voc-mlt")
    assert mixed.command.endswith("--values voc-mlt --override method.kappa=0.1")
    # What differs from its own is as short, or nothing.
    assert planned(values="voc-mlt", overrides=["learning_rate=0.05"]).label == "DB (mu=0.3)"
    assert planned(values="voc-mlt", overrides=["mu=0.4"]).label == "DB (learning_rate=0.2)"
    for values in (None, "voc-mlt"):
        same = planned(overrides=["mu=0.4", "learning_rate=0.05"], values=values)
        assert (same.experiment.id, same.label) == (own.experiment.id, "DB")


@pytest.mark.usefixtures("tuned")
def test_whose_values_an_experiment_has_is_kept_with_it(dataset, tmp_path):
    for plan in (build_plan(dataset, ["db"], seeds=[0], values=values) for values in ("voc-mlt", None)):
        (planned,) = plan.experiments
        folder = RunFolder(tmp_path / planned.experiment.id)
        folder.path.mkdir()
        folder.announce(planned, plan.name)
        kept, _ = folder.planned()
        assert (kept.values, kept.settings, kept.label) == (planned.values, planned.settings, planned.label)


def test_every_tuned_method_is_in_the_catalogue_with_what_was_found():
    for name, file in TUNED.items():
        for method, (_, settings) in tuned_settings(file).items():
            found = {f"method.{key}": value for key, value in get_method(method, dataset=name).parameters.items()}
            assert {key: value for key, value in settings.items() if key in found}.items() <= found.items()


def test_digits_mlt_was_tuned_for_every_row_alike():
    study = json.loads(TUNED["digits-mlt"].read_text())
    assert set(tuned_settings(TUNED["digits-mlt"])) == {name for table in TABLES.values() for name in table}
    assert (study["definition"]["defaults_of"], study["definition"]["seeds"]) == ("voc-mlt", [1000])
    for trials in study["trials"].values():
        assert (trials[0]["default"], trials[0]["outcome"]) == (True, "complete")
        # The trial that reaches the budget is the last; two processes may each have had one in hand.
        images = [trial["images"] for trial in trials]
        assert sum(images[:-2]) < study["budget"]["images"] <= sum(images)


@pytest.mark.usefixtures("tuned")
def test_a_loss_alone_takes_them_too(monkeypatch, small_statistics):
    monkeypatch.setattr(catalogue, "VALUES", ("tiny",))
    assert create_loss("db", small_statistics, dataset="tiny").weights.mu == 0.4
