import json
import math

import pytest
from mltbench import Choice, InputError, Interval, get_method, list_methods
from mltbench.methods.catalogue import VALUES
from mltbench.methods.heads import LabelGraph
from mltbench.methods.part import PARTS, as_type_of
from mltbench.methods.plugins import ModuleLoss
from mltbench.methods.samplers import ClassAware
from mltbench.methods.search_space import range_from_json

METHODS = [method.name for method in list_methods()]
SUITE_PARTS = [part() for slot in PARTS.values() for part in slot.values() if part is not ModuleLoss]
# Default, lowest and highest number that is allowed, range that is searched, the paper's value, searched by default.
TOLERANCE = {
    "negative_scale": (5, (0.001, 1000), "1 to 20, log", 5, True),
    "kappa": (0.05, (0, 10), "0 to 0.3, linear", 0.05, True),
    "nu": ("published", None, "published or paper", "published", False),
}
FOCUS = {
    "gamma_negative": (4, (0, 20), "0 to 8, linear", 4, True),
    "gamma_positive": (0, (0, 20), "0 to 4, linear", 0, True),
    "clip": (0.05, (0, 0.99), "0 to 0.2, linear", 0.05, True),
}
GAMMA = {"gamma": (2, (0, 20), "0 to 5, linear", 2, True)}
MARGIN = {"margin": (1, (-100, 100), "0 to 3, linear", 1, True)}
HILL_LAMBDA = {"hill_lambda": (1.5, (1, 100), "1 to 2, linear", 1.5, True)}
POLYNOMIAL = {
    "epsilon_positive": (1, (-100, 100), "0 to 2, linear", 1, True),
    "epsilon_positive_square": (-2.5, (-100, 100), "-5 to 0, linear", -2.5, True),
    "epsilon_negative": (0, (-100, 100), "-1 to 1, linear", 0, False),
}
BETAS = "0.9 or 0.99 or 0.999 or 0.9999"


def gradient(default):
    return {"focus_gradient": (default, None, "blocked or through", default, True)}


DECLARED = {
    "instance-balanced": {},
    "class-aware": {
        "images_per_visit": (3, (1, 1000), "1 to 12, log, whole", 3, True),
        "epoch_fraction": (0.25, (0.001, 100), "0.0625 to 1, log", 0.25, False),
    },
    "positives-and-negatives": {"images_per_side": (2, (1, 1000), "1 to 8, log, whole", None, True)},
    "inverse-square-root": {},
    "effective-number": {
        "cb_beta": (0.9, (0, 0.999999), BETAS, None, True),
        "cb_mode": ("average_w", None, "average_w or by_class or sum_w or positives", None, False),
    },
    "deferred-effective-number": {
        "cb_beta": (0.9999, (0, 0.999999), BETAS, 0.9999, True),
        "deferred_until": (0.8, (0, 1), "0 to 1, linear", 0.8, True),
    },
    "prevalence": {},
    "rebalanced": {
        "alpha": (0.1, (0, 100), "0.01 to 1, log", 0.1, True),
        "beta": (10, (0, 10_000), "0.1 to 100, log", 10, True),
        "mu": (0.3, (0, 1), "0 to 1, linear", 0.3, True),
    },
    "negative-tolerant": TOLERANCE,
    "symmetric-tolerant": TOLERANCE,
    "undivided-tolerant": TOLERANCE,
    "prior-log-odds": {"tau": (1, (-10, 10), "0 to 2, linear", 1, True)},
    "label-margin": {
        "ldam_margin": (2, (0, 100), "0.1 to 10, log", None, True),
        "ldam_scale": (1, (0.001, 1000), "1 to 30, log", 30, False),
    },
    "largest-margin": {
        "largest_margin": (0.5, (0, 100), "0.1 to 5, log", 0.5, True),
        "ldam_scale": (30, (0.001, 1000), "1 to 30, log", 30, True),
    },
    "focal": {**GAMMA, "focal_scale": (2, (0, 1000), "0.5 to 8, log", 2, False)},
    "alpha-focal": {
        **GAMMA,
        "focal_scale": (1, (0, 1000), "0.5 to 8, log", 1, False),
        "focal_alpha": (0.25, (0, 1), "0.05 to 0.95, linear", 0.25, True),
    },
    "asl": {**FOCUS, **gradient("blocked")},
    "apl": {**FOCUS, **gradient("blocked"), **POLYNOMIAL},
    "ral": {**FOCUS, **gradient("through"), **POLYNOMIAL, **HILL_LAMBDA},
    "hill": {**MARGIN, **GAMMA, **HILL_LAMBDA},
    "splc": {
        "threshold": (0.6, (0, 1), "0.3 to 0.95, linear", 0.6, True),
        **MARGIN,
        **GAMMA,
        "correct_from": (0.0125, (0, 1), "0.0125 to 1, linear", 0.0125, True),
    },
    "multi-grained": {**FOCUS, "rarity_exponent": (1 / 6, (0, 10), "0 to 1, linear", 1 / 6, True)},
    "mfm": {
        **FOCUS,
        "gamma_negative": (3, (0, 20), "0 to 8, linear", 3, True),
        "rarity_exponent": (1 / 3, (0, 10), "0 to 1, linear", 1 / 3, True),
        "beside_factor": (1.2, (1, 10), "1 to 2, linear", 1.2, True),
    },
    "bal": {
        **FOCUS,
        "gamma_negative": (12, (0, 100), "0 to 16, linear", 12, True),
        "smoothing": (0.01, (0, 1), "0 to 0.2, linear", 0.01, True),
        "class_power": (0.7, (0, 10), "0 to 2, linear", 0.7, True),
    },
    "eql-v2": {
        "eql_gamma": (12, (0, 1000), "4 to 24, linear", 12, True),
        "eql_mu": (0.8, (0, 100), "0.2 to 1.4, linear", 0.8, True),
        "eql_alpha": (4, (0, 100), "0 to 8, linear", 4, True),
    },
    "two-way": {
        "temperature_positive": (4, (0.001, 1000), "0.5 to 8, log", 4, True),
        "temperature_negative": (1, (0.001, 1000), "0.5 to 8, log", 1, True),
    },
    "zlpr": {},
    "map-surrogate": {
        "map_margin": (1, (0.001, 10), "0.1 to 2, linear", 1, True),
        "map_decay": (0.9, (0.001, 1), "0.1 to 1, linear", 0.9, True),
    },
    "linear": {},
    "label-graph": {
        "graph_threshold": (0.4, (0, 1), "0.05 to 0.95, linear", None, True),
        "graph_weight": (0.25, (0, 1), "0.05 to 0.95, linear", None, True),
        "graph_width": (1024, (1, 65536), "256 or 512 or 1024", None, True),
    },
}
# What experiments had no name for before, and whose ids must stay: in JSON only if it is not the default.
ADDED = {("label-margin", "ldam_scale")}


def test_a_grid_is_even_on_its_own_scale_and_holds_both_ends():
    assert Interval(low=1, high=100, scale="log").grid(5) == pytest.approx([1, 10**0.5, 10, 10**1.5, 100])
    assert Interval(low=0, high=1).grid(5) == (0, 0.25, 0.5, 0.75, 1)
    assert Interval(low=1, high=3, whole=True).grid(5) == (1, 2, 3)
    assert Choice(options=("a", "b")).grid(7) == ("a", "b")
    # Exactly, or 10.000000000000002 would be another experiment than 10.
    assert Interval(low=0.01, high=1, scale="log").grid(5) == (0.01, 0.0316227766017, 0.1, 0.316227766017, 1)
    assert Interval(low=1, high=12, scale="log", whole=True).grid(4) == (1, 2, 5, 12)


def test_a_range_holds_its_ends_and_nothing_beyond():
    for searched in (Interval(low=1, high=3), Interval(low=1, high=3, whole=True), Choice(options=(1, 3))):
        assert [value in searched for value in (0.999, 1, 3, 3.001, "2")] == [False, True, True, False, False]


@pytest.mark.parametrize(
    "bounds",
    [(-math.inf, 1), (0, math.inf), (math.nan, 1), (0, math.nan), (1, 1), (2, 1)],
    ids=str,
)
def test_an_interval_has_two_finite_ends_in_their_order(bounds):
    with pytest.raises(InputError, match="finite low < high"):
        Interval(low=bounds[0], high=bounds[1])


def test_a_hyper_parameter_that_a_method_lacks_is_refused():
    with pytest.raises(InputError, match=r"hyper-parameter of erm.*gamma"):
        get_method("erm").with_parameters(gamma=1)


def test_a_range_is_whole_in_its_json():
    ranges = [searched for part in SUITE_PARTS for searched in part.search_space.values()]
    assert {searched.kind for searched in ranges} == {"int", "float", "choice"}
    for searched in (*ranges, Interval(low=1, high=3)):
        again = range_from_json(json.loads(json.dumps(searched.as_json())))
        assert (again.text, again.paper, again.as_json()) == (searched.text, searched.paper, searched.as_json())


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
def test_hyper_parameters_have_their_defaults_and_ranges(part):
    declared = DECLARED[part.kind]
    defaults = {name: default for name, (default, *_) in declared.items()}
    assert part.parameters == defaults
    written = {name: default for name, default in defaults.items() if (part.kind, name) not in ADDED}
    assert part.as_json() == {"kind": part.kind, **written}
    assert part.ranges == {name: allowed for name, (_, allowed, *_) in declared.items() if allowed}
    for name, searched in part.search_space.items():
        assert (searched.text, searched.paper, searched.tuned) == declared[name][2:]
        # The paper's value is the default.
        assert searched.paper in (None, getattr(part, name)) or (part.kind, name) in ADDED


@pytest.mark.parametrize("part", SUITE_PARTS, ids=lambda part: part.kind)
def test_the_lowest_and_the_highest_number_are_allowed_and_none_beyond(part):
    for name, allowed in part.ranges.items():
        of_its_type = type(getattr(part, name))
        for number, beyond in zip(allowed, (-math.inf, math.inf), strict=True):
            kept = getattr(part.with_parameters(**{name: number}), name)
            assert (kept, type(kept)) == (number, of_its_type)
            wrong = number + math.copysign(1, beyond) if of_its_type is int else math.nextafter(number, beyond)
            with pytest.raises(InputError, match=f"{name}=.* is out of range"):
                part.with_parameters(**{name: wrong})


@pytest.mark.parametrize(("kind", "name"), ADDED)
def test_a_hyper_parameter_that_was_added_is_in_the_json_where_it_is_not_the_default(kind, name):
    (part,) = (part for part in SUITE_PARTS if part.kind == kind)
    changed = part.with_parameters(**{name: 7})
    assert changed.as_json() == {**part.as_json(), name: 7}
    assert type(part)(**{key: value for key, value in changed.as_json().items() if key != "kind"}) == changed


@pytest.mark.parametrize(
    ("default", "value", "taken"),
    [(1.5, 2, 2.0), (1.5, 2.5, 2.5), (1, 2, 2), (True, False, False), ("a", "b", "b"), ((1, 2), 3, (3,)),
     ((1, 2), [4, 5], (4, 5)), ((1, 2), (6,), (6,))],
)  # fmt: skip
def test_a_value_takes_the_type_of_the_default(default, value, taken):
    found = as_type_of(default, value, "name")
    assert (found, type(found)) == (taken, type(taken))


@pytest.mark.parametrize(
    ("default", "value"),
    [
        (1.5, True),
        (1.5, "2"),
        (1, 2.0),
        (1, True),
        (True, 1),
        ("a", 1),
        ((1, 2), True),
        ((1, 2), [3, 4.0]),
        ((1,), "3"),
    ],
)
def test_a_value_of_another_type_than_the_default_is_refused(default, value):
    with pytest.raises(InputError, match=r"name=.* must be of type"):
        as_type_of(default, value, "name")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dataset", VALUES)
def test_defaults_lie_in_the_space_and_every_point_of_it_is_a_method(name, dataset):
    method = get_method(name, dataset=dataset)
    assert set(method.search_space) == set(method.parameters)
    for key, searched in method.search_space.items():
        assert method.parameters[key] in searched or not searched.tuned
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
        "ldam_margin": {"kind": "float", "low": 0.1, "high": 10, "scale": "log", "paper": None},
        "ldam_scale": {"kind": "float", "low": 1, "high": 30, "scale": "log", "paper": 30.0},
    }
