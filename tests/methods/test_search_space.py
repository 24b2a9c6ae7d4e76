import json
import math

import pytest
import torch
from mltbench import Choice, InputError, Interval, create_loss, get_method, list_methods
from mltbench.benchmark.training.check import tiny_dataset
from mltbench.methods.catalogue import VALUES
from mltbench.methods.method import PARTS
from mltbench.methods.module_loss import ModuleLoss

METHODS = [method.name for method in list_methods()]
SUITE_PARTS = [part for slot in PARTS.values() for part in slot if part is not ModuleLoss]


class Margin(torch.nn.Module):
    """At the top level of a file, as other processes need it."""

    def __init__(self, statistics, *, margin=1.0):
        super().__init__()
        self.margin = margin


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
    ],
)
def test_a_range_that_cannot_be_searched_is_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_a_methods_space_is_the_sum_of_its_parts():
    space = get_method("db-focal").search_space
    assert set(space) == {
        "images_per_visit", "epoch_fraction", "alpha", "beta", "mu", "negative_scale", "kappa", "nu", "gamma",
        "focal_scale",
    }  # fmt: skip
    assert set(get_method("erm").search_space) == set()
    assert set(get_method("ldam").search_space) == {"ldam_margin"}


@pytest.mark.parametrize("part", SUITE_PARTS, ids=lambda part: part.kind)
def test_every_hyper_parameter_of_the_suite_has_a_range_and_the_papers_value_is_its_default(part):
    made = part()
    names = set(made.as_json()) - {"kind"}
    assert set(part.search_space) == names
    for name, searched in part.search_space.items():
        assert searched.paper is None or searched.paper == getattr(made, name)


@pytest.mark.parametrize("dataset", VALUES)
@pytest.mark.parametrize("name", METHODS)
def test_defaults_lie_in_the_space_and_every_point_of_it_is_a_method(name, dataset):
    method = get_method(name, dataset=dataset)
    for key, searched in method.search_space.items():
        assert method.parameters[key] in searched
        for value in searched.grid(5):
            assert method.with_parameters(**{key: value}).parameters[key] == value


def test_an_own_loss_declares_its_space():
    loss = ModuleLoss.of(Margin, {"margin": Interval(low=0.1, high=10, scale="log")})
    assert loss.search_space["margin"].kind == "float"
    assert "search_space" not in loss.as_json()
    with pytest.raises(InputError, match="unknown hyper-parameter in the search space of Margin 'margn'; did you mean"):
        ModuleLoss.of(Margin, {"margn": Interval(low=0, high=1)})
    with pytest.raises(InputError, match=r"default margin=1.0 lies outside"):
        ModuleLoss.of(Margin, {"margin": Interval(low=2, high=3)})


def test_the_command_shows_the_space(call):
    shown = call("methods", "db-focal", "--dataset", "coco-mlt")[1]
    (beta,) = [line.split() for line in shown.splitlines() if " beta " in line]
    (scale,) = [line.split() for line in shown.splitlines() if " negative_scale " in line]
    assert beta[:3] == ["beta", "10.0", "10.0"]
    assert "0.1 to 100, log" in shown
    assert scale[:3] == ["negative_scale", "2.0", "2.0"]
    (row,) = json.loads(call("methods", "ldam", "--json")[1])
    assert row["search_space"] == {
        "ldam_margin": {"kind": "float", "low": 0.1, "high": 10, "scale": "log", "paper": None}
    }


@pytest.mark.parametrize("scale", [2.0, 5.0])
def test_symmetric_tolerance_is_the_papers_equation_on_both_signs(scale):
    statistics = tiny_dataset().statistics
    labels = torch.from_numpy(tiny_dataset().split("train").labels).double()
    logits = torch.randn(labels.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    settings = {"dataset": "voc-mlt", "negative_scale": scale, "nu": "paper"}
    both = create_loss("db-symmetric", statistics, **settings).double().elementwise(logits, labels)
    ours = create_loss("db", statistics, **settings).double().elementwise(logits, labels)
    weights = create_loss("r-bce", statistics, dataset="voc-mlt").double()
    weights = weights.weights.weigh(labels, **weights._buffers_of(weights._weight_constants))
    for i, row in enumerate(labels):
        for c, y in enumerate(row):
            nu = 0.05 * math.log(statistics.num_images / statistics.counts[c] - 1)
            sign = -1 if y else 1
            expected = weights[i, c] * math.log1p(math.exp(sign * scale * (logits[i, c] - nu))) / scale
            assert both[i, c].item() == pytest.approx(expected.item(), rel=1e-5)
            if not y:
                assert both[i, c].item() == pytest.approx(ours[i, c].item(), rel=1e-9)
