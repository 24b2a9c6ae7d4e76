import shlex
from dataclasses import replace

import pytest
from mltbench.benchmark.commands.options import parse_seeds
from mltbench.benchmark.experiments.overrides import parse_overrides
from mltbench.benchmark.experiments.plan import Plan, build_plan, choose_methods, training_images
from mltbench.benchmark.experiments.recipe import RECIPES, Schedule
from mltbench.benchmark.networks.initial_weights import BackboneChoice
from mltbench.datasets import registry
from mltbench.datasets.dataset import Dataset
from mltbench.datasets.prepared.dataset_folder import StartingWeights
from mltbench.errors import InputError
from mltbench.methods.catalogue import CATALOGUE, TABLES, get_method
from plans import PLAIN, plugin_text
from trainings import make_training

ALL = [method.name for method in CATALOGUE]
RESAMPLED = {name for name in ALL if get_method(name).schedule == "re-sampled"}


def ids(plan):
    return {(p.experiment.method.name, p.experiment.seed): p.experiment.id for p in plan.experiments}


def test_a_plan_is_methods_times_seeds_in_order(dataset):
    plan = build_plan(dataset, ["rs", "erm"], seeds=[2, 0])
    assert list(ids(plan)) == [("rs", 2), ("rs", 0), ("erm", 2), ("erm", 0)]
    assert len(set(ids(plan).values())) == 4
    assert plan.dataset == "tiny"
    assert {planned.recipe for planned in plan.experiments} == {"digits"}
    assert {planned.overrides for planned in plan.experiments} == {""}
    assert {planned.experiment.dataset_digest for planned in plan.experiments} == {dataset.digest}
    assert {planned.experiment.backbone for planned in plan.experiments} == {"digits-resnet"}
    assert [planned.title for planned in plan.experiments] == ["RS", "RS", "ERM", "ERM"]
    assert {planned.experiment.training["learning_rate"] for planned in plan.experiments} == {0.2}
    assert plan.name == "rs, erm on tiny"


def test_what_is_named_is_planned_with_it(dataset):
    choice = BackboneChoice(backbone="resnet18", weights="random", padding="same")
    named = {"recipe": "digits-paper", "name": "mine", "backbone": choice, "device_type": "cuda"}
    plan = build_plan(dataset, ["erm"], seeds=[3], overrides=["recipe.dropout=0"], **named)
    (planned,) = plan.experiments
    experiment = planned.experiment
    assert (plan.name, planned.recipe, planned.settings) == ("mine", "digits-paper", ("recipe.dropout=0",))
    assert (experiment.backbone, experiment.weights_digest, experiment.input_format.padding) == (
        "resnet18",
        "random",
        "same",
    )
    assert (experiment.seed, experiment.training["learning_rate"], experiment.training["dropout"]) == (3, 0.02, 0)
    assert (experiment.training["precision"], experiment.training["schedule"]["epochs"]) == ("bfloat16", 80)
    assert planned.label == "ERM (backbone=resnet18, weights=random, weights-padding=same, dropout=0)"
    assert planned.command == (
        "mltbench run --method erm --dataset tiny --seeds 3, --recipe digits-paper "
        "--backbone resnet18 --weights random --weights-padding same --override recipe.dropout=0"
    )


def test_a_dataset_starts_from_the_weights_that_it_was_imported_with(dataset, monkeypatch):
    entry = replace(registry.get_dataset_entry("tiny"), weights=StartingWeights(weights="random", digest="random"))
    monkeypatch.setitem(registry._REGISTERED.by_name, "tiny", entry)
    (planned,) = build_plan(dataset, ["erm"], seeds=[0]).experiments
    assert (planned.experiment.weights_digest, planned.overrides) == ("random", "")


def test_a_search_opens_the_test_split_in_no_way():
    plan = Plan(name="a", dataset="tiny", experiments=())
    assert (plan.kind, plan.splits) == ("experiment", ("train", "validation", "test"))
    search = replace(plan, scores_test=False)
    assert (search.kind, search.splits) == ("trial", ("train", "validation"))


def test_what_is_asked_twice_is_planned_once(dataset):
    assert len(build_plan(dataset, ["rs", "rs"], seeds=[1, 1]).experiments) == 1
    assert choose_methods([2, 1], ["erm", "nt-bce"]) == [
        *TABLES[2],
        *(name for name in TABLES[1] if name not in TABLES[2]),
        "nt-bce",
    ]


def test_unknown_names_are_refused(dataset):
    with pytest.raises(InputError, match="unknown method 'rss'; did you mean 'rs'"):
        build_plan(dataset, ["erm", "rss"], seeds=[0])
    with pytest.raises(InputError, match="unknown table '4'; known: 1, 2, 3"):
        choose_methods([4], [])
    with pytest.raises(InputError, match="nothing to run"):
        choose_methods([], [])


def test_a_loss_that_cannot_take_the_labels_is_refused_before_anything_runs(dataset, plugin):
    plugin("mine", PLAIN)
    unknown = dataset.split("train").labels.copy()
    unknown[0, 0] = 255
    incomplete = Dataset.in_memory(
        "tiny",
        dataset.classes,
        {"train": replace(dataset.split("train"), labels=unknown), "test": dataset.split("test")},
    )
    assert len(build_plan(dataset, ["erm", "mine"], seeds=[0]).experiments) == 2
    assert len(build_plan(incomplete, ["erm"], seeds=[0]).experiments) == 1
    with pytest.raises(InputError, match="takes_unknown = True"):
        build_plan(incomplete, ["erm", "mine"], seeds=[0])


def test_word_vectors_decide_where_a_head_reads_them_and_there_alone(dataset, tmp_path):
    file = tmp_path / "vectors.txt"
    file.write_text("\n".join(f"{word} {i} 1.0" for i, word in enumerate(["class", *"012345"])))
    before = ids(build_plan(dataset, ["erm", "ml-gcn"], seeds=[0]))
    after = ids(build_plan(dataset, ["erm", "ml-gcn"], seeds=[0], word_vectors=file))
    assert {name for (name, _) in before if before[name, 0] != after[name, 0]} == {"ml-gcn"}
    plain, graph = (
        p.experiment.word_vectors_digest for p in build_plan(dataset, ["erm", "ml-gcn"], seeds=[0]).experiments
    )
    assert (plain, len(graph)) == (None, 64)


# 18 images, the largest of 6 classes with 11: 18 draws of every image, or int(11 x 6 / 4) = 16 class-aware ones.
@pytest.mark.parametrize(
    ("name", "batch_size", "images"),
    [
        ("erm", 6, 3 * 18), ("erm", 5, 3 * 18), ("erm", 17, 3 * 17), ("erm", 32, 3 * 18),
        ("rs", 6, 5 * 12), ("rs", 16, 5 * 16), ("rs", 15, 5 * 15), ("rs", 5, 5 * 15),
        ("map-surrogate", 6, 3 * 18), ("map-surrogate", 5, 3 * 15),
    ],
)  # fmt: skip
def test_planned_images_are_those_of_whole_batches_in_all_epochs(name, batch_size, images, dataset):
    """The last batch counts unless its sampler leaves it out, or it has one image, which BatchNorm cannot take."""
    overrides = [f"batch_size={batch_size}", "plain.epochs=3", "resampled.epochs=5"]
    (planned,) = build_plan(dataset, [name], seeds=[0], overrides=overrides).experiments
    assert planned.images == images


def test_the_device_decides_the_precision_of_auto_alone(dataset):
    cpu, cuda = (build_plan(dataset, ["erm"], seeds=[0], device_type=kind).experiments[0] for kind in ("cpu", "cuda"))
    changed = {key for key in cpu.experiment.training if cpu.experiment.training[key] != cuda.experiment.training[key]}
    assert changed == {"precision"}


@pytest.mark.parametrize(("name", "batch_size"), [("erm", 17), ("rs", 5), ("map-surrogate", 5)])
def test_planned_images_are_those_that_training_takes(name, batch_size):
    training, schedule = make_training(name, batch_size=batch_size, image_size=16), Schedule(epochs=2, decay_after=())
    recipe = replace(RECIPES["digits"], plain=schedule, resampled=schedule, batch_size=batch_size)
    taken = sum(training.epoch(epoch)[1] for epoch in range(2))
    assert training_images(get_method(name), recipe, training.dataset) == taken


def affected(dataset, override):
    """Methods whose experiment is another one under the override."""
    before = ids(build_plan(dataset, ALL, seeds=[0]))
    after = ids(build_plan(dataset, ALL, seeds=[0], overrides=[override]))
    return {name for (name, _), value in after.items() if value != before[name, 0]}


@pytest.mark.parametrize(
    ("override", "methods"),
    [
        ("method.mu=.25", {"r-bce", "r-bce-focal", "db", "db-focal", "db-symmetric", "db-focal-alpha"}),
        ("method.kappa=.1", {"db", "db-focal", "db-symmetric", "nt-bce", "db-focal-alpha"}),
        ("method.nu=paper", {"db", "db-focal", "db-symmetric", "nt-bce"}),
        ("method.gamma=1", {*(name for name in ALL if "focal" in name), "hill", "rs-hill", "splc", "rs-splc"}),
        ("method.cb_beta=.99", {*(name for name in ALL if "cb-focal" in name), "ldam-drw"}),
        ("method.ldam_margin=.3", {"ldam"}),
        ("method.graph_width=64", {"ml-gcn"}),
        ("method.images_per_visit=1", RESAMPLED),
        ("recipe.plain.epochs=5", set(ALL) - RESAMPLED),
        ("recipe.resampled.decay_after=(3,4)", RESAMPLED),
        ("recipe.learning_rate=.1", set(ALL)),
        ("recipe.augmentation.flip=true", set(ALL)),
    ],
)
def test_one_setting_changes_the_experiments_that_have_it(dataset, override, methods):
    assert affected(dataset, override) == methods


# The id being the standard one, a run so labelled would be found "finished" but leave the table's own row empty.
@pytest.mark.parametrize(
    "override",
    [
        *("method.mu=.3", "method.images_per_visit=3", "method.nu=published"),
        *("recipe.learning_rate=.2", "recipe.resampled.epochs=8", "recipe.plain.epochs=3"),
    ],
)
def test_an_override_that_changes_nothing_has_no_label(dataset, override):
    plan = build_plan(dataset, ["db"], seeds=[0], overrides=[override])
    assert ids(plan) == ids(build_plan(dataset, ["db"], seeds=[0]))
    assert [(p.overrides, p.label) for p in plan.experiments] == [("", "DB")]


def test_labels_name_what_was_changed_in_each_method(dataset):
    overrides = ["method.mu=.2", "method.gamma=1", "recipe.learning_rate=.1"]
    plan = build_plan(dataset, ["rs", "r-bce", "r-bce-focal"], seeds=[0], overrides=overrides)
    assert [p.label for p in plan.experiments] == [
        "RS (learning_rate=0.1)",
        "R-BCE (mu=0.2, learning_rate=0.1)",
        "R-BCE-Focal (mu=0.2, gamma=1.0, learning_rate=0.1)",
    ]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["method.mu=.25", "method.nu=paper", "recipe.learning_rate=.1", "recipe.augmentation.flip=true"],
        ["recipe.resampled.decay_after=(3,4)"],
        ["recipe.resampled.decay_after=(3,)"],
        ["recipe.resampled.decay_after=()"],
    ],
)
def test_the_recorded_command_plans_the_experiment_again(dataset, overrides):
    planned = build_plan(dataset, ["db-focal"], seeds=[3], overrides=overrides).experiments[0]
    words = shlex.split(planned.command)
    options = [(words[i], words[i + 1]) for i in range(2, len(words), 2)]
    again = build_plan(
        dataset,
        [value for name, value in options if name == "--method"],
        seeds=parse_seeds(dict(options)["--seeds"]),
        recipe=dict(options)["--recipe"],
        overrides=[value for name, value in options if name == "--override"],
    )
    assert words[:2] == ["mltbench", "run"]
    assert dict(options)["--dataset"] == "tiny"
    assert [again_planned.experiment.id for again_planned in again.experiments] == [planned.experiment.id]


@pytest.mark.parametrize(
    "overrides",
    [
        ["method.mu=.2,recipe.learning_rate=.1,recipe.resampled.decay_after=3,4,recipe.dropout=0"],
        ["mu=.2,learning_rate=.1,resampled.decay_after=(3,4),dropout=0"],
        ["mu=.2, learning_rate=.1", "resampled.decay_after=3,4, dropout = 0"],
    ],
)
def test_several_overrides_may_stand_in_one_and_leave_out_whose_they_are(dataset, overrides):
    apart = ["method.mu=.2", "recipe.learning_rate=.1", "recipe.resampled.decay_after=3,4", "recipe.dropout=0"]
    plan = build_plan(dataset, ["rs", "db"], seeds=[0], overrides=overrides)
    assert ids(plan) == ids(build_plan(dataset, ["rs", "db"], seeds=[0], overrides=apart))


def test_a_key_that_methods_and_recipes_have_needs_its_owner(plugin):
    text = plugin_text("mine", PLAIN).replace("statistics)", "statistics, *, dropout=1.0)")
    plugin("x", PLAIN, text)
    with pytest.raises(InputError, match=r"'dropout' may be method\.dropout or recipe\.dropout; say which"):
        parse_overrides(["dropout=.5"])
    assert parse_overrides(["method.dropout=.5"])["method"] == {"dropout": 0.5}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.muu=.2", "unknown key 'method.muu'; did you mean 'method.mu'"),
        ("recipe.lerning_rate=.2", "unknown key 'recipe.lerning_rate'; did you mean 'recipe.learning_rate'"),
        ("method.kappa=.2", r"unknown key 'method.kappa'.*known: .*method\.mu"),
        ("methods.mu=.2", r"method\.KEY=VALUE or recipe\.KEY=VALUE"),
        ("method.mu", r"method\.KEY=VALUE"),
        ("method.=3", r"method\.KEY=VALUE"),
        ("method.mu=high", "mu='high' must be a finite number"),
        ("recipe.batch_size=many", "recipe.batch_size='many' must be of type int"),
        ("lr=.1", "unknown key 'lr'; did you mean 'learning_rate'"),
        ("=3", r"method\.KEY=VALUE"),
        ("mu=.2,,learning_rate=.1", r"mu=\(0.2,\) must be a finite number"),
    ],
)
def test_an_override_that_cannot_be_is_refused(dataset, override, message):
    with pytest.raises(InputError, match=message):
        build_plan(dataset, ["rs", "r-bce"], seeds=[0], overrides=[override])
