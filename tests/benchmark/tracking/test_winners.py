"""Winners of studies as MLflow has them, and the plan that judges them on fresh seeds."""

import json
from dataclasses import asdict
from types import SimpleNamespace

import pytest
from mltbench.benchmark.networks.initial_weights import BackboneChoice
from mltbench.benchmark.tracking import winners as module
from mltbench.benchmark.tracking.store import TAG, Store, open_store
from mltbench.benchmark.tracking.winners import Winner, studies_with_winners, winner_tags, winners_plan
from mltbench.errors import InputError


def winner(**changes):
    found = {
        "method": "db", "dataset": "tiny", "recipe": "digits-smoke",
        "weights": asdict(BackboneChoice(weights="random", padding="same")),
        "fixed": ["recipe.dropout=0"], "settings": ["method.mu=0.2", "recipe.learning_rate=0.1"],
        "objective": "tail", "trial": 4, "value": 0.75, "seeds": [1000, 1001],
        "default_configuration": "a", "tuned_configuration": "b",
    }  # fmt: skip
    return found | changes


@pytest.fixture
def store(monkeypatch, tmp_path):
    """A store in which studies have these winners in one tag, as before; one has no tag yet, and one found none."""
    studies = {"mine": [winner(), winner(method="rs", fixed=[], settings=["method.images_per_visit=1"], seeds=[7])]}
    studies |= {"other": [winner(method="erm", settings=[], fixed=[])], "empty": [], "untold": None}

    def runs_of(store, dataset=None, *, kind):
        assert (dataset, kind) == (None, "study")
        tags = [
            {"mltbench.study": name} | ({"mltbench.winners": json.dumps(w)} if w is not None else {})
            for name, w in studies.items()
        ]
        return [SimpleNamespace(data=SimpleNamespace(tags=its)) for its in tags]

    monkeypatch.setattr(Store, "runs_of", runs_of)
    return Store(root=tmp_path, tracking_uri="http://nowhere")


def plan_of(store, name="mine", *, seeds=(5, 6), device_type="cpu", word_vectors=None):
    return winners_plan(
        store, name, seeds=seeds, data_root=store.root, device_type=device_type, word_vectors=word_vectors
    )


def test_every_study_has_its_own_winners(store):
    found = studies_with_winners(store)
    assert {name: [one.method for one in winners] for name, winners in found.items()} == {
        "mine": ["db", "rs"], "other": ["erm"], "empty": []
    }  # fmt: skip
    assert found["mine"][0] == Winner(**winner())


@pytest.mark.parametrize("text", [json.dumps([winner()])[:-9], "2", json.dumps([{"method": "db"}])])
def test_winners_that_were_cut_are_an_error_that_says_what_to_do(text, monkeypatch, store):
    tags = {"mltbench.study": "mine", "mltbench.winners": text, "mltbench.winner.0": json.dumps(winner())}
    monkeypatch.setattr(Store, "runs_of", lambda *_, **__: [SimpleNamespace(data=SimpleNamespace(tags=tags))])
    with pytest.raises(InputError, match=r"winners of study 'mine' .*the command that tuned it, given once more"):
        studies_with_winners(store)


def test_any_number_of_winners_is_read_as_it_was_written(out):
    winners = [Winner(**winner(trial=trial, settings=[f"method.mu={trial / 7}"] * 20)) for trial in range(60)]
    store = open_store(out)
    for name, found in {"many": winners, "none": [], "fewer": winners[:3]}.items():
        tags = {f"{TAG}kind": "study", f"{TAG}study": name, f"{TAG}dataset": "tiny"}
        run = store.client.create_run(store.experiment("tiny"), tags=tags)
        # Those of an earlier upload are no longer any.
        for tag, text in ({**winner_tags(winners[:5])} | winner_tags(found)).items():
            store.client.set_tag(run.info.run_id, tag, text)
    assert studies_with_winners(store) == {"many": winners, "none": [], "fewer": winners[:3]}


def test_defaults_and_winner_differ_in_what_was_found_alone_and_have_the_same_seeds(store, dataset):
    plan = plan_of(store)
    assert (plan.name, plan.dataset, plan.kind) == ("winners of mine", "tiny", "experiment")
    shown = [(p.experiment.method.name, p.tags["role"], p.experiment.seed, p.settings) for p in plan.experiments]
    held, found = ("recipe.dropout=0",), ("method.mu=0.2", "recipe.dropout=0", "recipe.learning_rate=0.1")
    assert shown == [
        ("db", "default", 5, held), ("db", "default", 6, held), ("db", "tuned", 5, found), ("db", "tuned", 6, found),
        *(("rs", "default", seed, ()) for seed in (5, 6)),
        *(("rs", "tuned", seed, ("method.images_per_visit=1",)) for seed in (5, 6)),
    ]  # fmt: skip
    assert {planned.tags["from_study"] for planned in plan.experiments} == {"mine"}
    for planned in plan.experiments:
        experiment = planned.experiment
        assert (planned.recipe, experiment.weights_digest, experiment.input_format.padding) == (
            "digits-smoke", "random", "same"
        )  # fmt: skip
        assert experiment.training["precision"] == "float32"
    assert len({planned.experiment.id for planned in plan.experiments}) == 8


def test_device_and_word_vectors_are_those_of_the_command(store, dataset, monkeypatch, tmp_path):
    asked = []

    def seen(dataset, methods, **options):
        asked.append((dataset.name, methods, options))
        return SimpleNamespace(experiments=())

    def load(name, *, data_root):
        assert data_root == store.root
        return SimpleNamespace(name=name)

    monkeypatch.setattr(module, "build_plan", seen)
    monkeypatch.setattr(module, "load_dataset", load)
    plan_of(store, "other", device_type="cuda", word_vectors=tmp_path / "glove.txt")
    (name, methods, options), _ = asked
    assert (name, methods, options["device_type"]) == ("tiny", ["erm"], "cuda")
    assert options["word_vectors"] == tmp_path / "glove.txt"


def test_a_winner_that_is_the_default_is_trained_once_as_the_default(store, dataset):
    assert [p.tags["role"] for p in plan_of(store, "other", seeds=[3]).experiments] == ["default"]


@pytest.mark.parametrize(
    ("name", "seeds", "message"),
    [
        ("mine", [5, 1001], "seed 1001 is one that study 'mine' chose its winners on"),
        ("mine", [9, 7, 8], "seed 7 is one that"),
        ("mine", [1001, 1000, 7], "seed 7 is one that"),
        ("min", [5], "unknown study with winners in MLflow 'min'; did you mean 'mine'"),
        ("untold", [5], "unknown study"),
        ("empty", [5], "study 'empty' has no winner"),
    ],
)
def test_no_winner_is_judged_on_a_seed_that_chose_it(name, seeds, message, store, dataset):
    with pytest.raises(InputError, match=message):
        plan_of(store, name, seeds=seeds)
