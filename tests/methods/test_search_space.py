import json
import math

import pytest
from mltbench import Choice, InputError, Interval, get_method, list_methods
from mltbench.methods.catalogue import VALUES
from mltbench.methods.heads import LabelGraph
from mltbench.methods.part import PARTS
from mltbench.methods.plugins import ModuleLoss
from mltbench.methods.samplers import ClassAware

METHODS = [method.name for method in list_methods()]
SUITE_PARTS = [part() for slot in PARTS.values() for part in slot.values() if part is not ModuleLoss]


def test_a_grid_is_even_on_its_own_scale_and_holds_both_ends():
    assert Interval(low=1, high=100, scale="log").grid(5) == pytest.approx([1, 10**0.5, 10, 10**1.5, 100])
    assert Interval(low=0, high=1).grid(5) == (0, 0.25, 0.5, 0.75, 1)
    assert Interval(low=1, high=3, whole=True).grid(5) == (1, 2, 3)
    assert Choice(options=("a", "b")).grid(7) == ("a", "b")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Interval(low=1, high=1), "low < high"),
        (lambda: Interval(low=0, high=math.inf), "finite"),
        (lambda: Interval(low=0, high=1, scale="log"), "low > 0"),
        (lambda: Interval(low=0, high=1, scale="logarithmic"), "known: 'linear', 'log'"),
        (lambda: Choice(options=("only",)), "at least two"),
        (lambda: LabelGraph(graph_threshold=1.5), "graph_threshold=1.5 is out of range"),
        (lambda: LabelGraph(graph_weight=-0.1), "graph_weight=-0.1 is out of range"),
        (lambda: LabelGraph(graph_width=0), "graph_width=0 is out of range"),
        (lambda: ClassAware(images_per_visit=0), "images_per_visit=0 is out of range"),
        (lambda: ClassAware(images_per_visit=2.5), "images_per_visit=2.5 must be a whole number"),
        (lambda: ClassAware(epoch_fraction=0), "epoch_fraction=0 is out of range"),
    ],
)
def test_a_range_that_cannot_be_searched_and_a_value_out_of_range_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize("part", SUITE_PARTS, ids=lambda part: part.kind)
def test_the_papers_value_is_the_default(part):
    assert set(part.search_space) == set(part.as_json()) - {"kind"}
    for name, searched in part.search_space.items():
        assert searched.paper is None or searched.paper == getattr(part, name)


@pytest.mark.parametrize("dataset", VALUES)
@pytest.mark.parametrize("name", METHODS)
def test_defaults_lie_in_the_space_and_every_point_of_it_is_a_method(name, dataset):
    method = get_method(name, dataset=dataset)
    assert set(method.search_space) == set(method.parameters)
    for key, searched in method.search_space.items():
        assert method.parameters[key] in searched
        for value in searched.grid(5):
            assert method.with_parameters(**{key: value}).parameters[key] == value


def test_the_command_shows_the_space(call):
    shown = call("methods", "db-focal", "--dataset", "coco-mlt")[1]
    (beta,) = [line.split() for line in shown.splitlines() if " beta " in line]
    (scale,) = [line.split() for line in shown.splitlines() if " negative_scale " in line]
    assert beta[1:4] == ["beta", "10.0", "10.0"]
    assert "0.1 to 100, log" in shown
    assert scale[1:4] == ["negative_scale", "2.0", "2.0"]
    (row,) = json.loads(call("methods", "ldam", "--json")[1])
    assert row["search_space"] == {
        "ldam_margin": {"kind": "float", "low": 0.1, "high": 10, "scale": "log", "paper": None}
    }
