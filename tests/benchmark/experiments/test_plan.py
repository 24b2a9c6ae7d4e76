from dataclasses import replace

import pytest
from mltbench.benchmark.experiments.plan import build_plan, choose_methods, training_images
from mltbench.benchmark.experiments.recipe import RECIPES, Schedule
from mltbench.errors import InputError
from mltbench.methods.catalogue import TABLES, get_method
from trainings import make_training


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
    with pytest.raises(InputError, match="unknown table '3'; known: 1, 2"):
        choose_methods([3], [])
    with pytest.raises(InputError, match="nothing to run"):
        choose_methods([], [])


def test_word_vectors_decide_where_a_head_reads_them_and_there_alone(dataset, tmp_path):
    file = tmp_path / "vectors.txt"
    file.write_text("\n".join(f"{word} {i} 1.0" for i, word in enumerate(["class", *"012345"])))
    before = ids(build_plan(dataset, ["erm", "ml-gcn"], seeds=[0]))
    after = ids(build_plan(dataset, ["erm", "ml-gcn"], seeds=[0], word_vectors=file))
    assert {name for (name, _) in before if before[name, 0] != after[name, 0]} == {"ml-gcn"}


def test_the_device_decides_the_precision_of_auto_alone(dataset):
    cpu, cuda = (build_plan(dataset, ["erm"], seeds=[0], device_type=kind).experiments[0] for kind in ("cpu", "cuda"))
    changed = {key for key in cpu.experiment.training if cpu.experiment.training[key] != cuda.experiment.training[key]}
    assert changed == {"precision"}


@pytest.mark.parametrize(
    ("name", "batch_size"),
    [("erm", 4), ("erm", 5), ("erm", 18), ("erm", 32), ("erm", 17), ("rs", 4), ("rs", 5), ("rs", 16)],
)
def test_planned_images_are_those_that_training_takes(name, batch_size):
    training, schedule = make_training(name, batch_size=batch_size, image_size=16), Schedule(epochs=2, decay_after=())
    recipe = replace(RECIPES["digits"], plain=schedule, resampled=schedule, batch_size=batch_size)
    taken = sum(training.epoch(epoch)[1] for epoch in range(2))
    assert training_images(get_method(name), recipe, training.dataset) == taken
