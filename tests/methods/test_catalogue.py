import csv
import json
import re
import sys
from dataclasses import dataclass

import pytest
from mltbench import ClassStatistics, InputError, create_loss, get_method, list_methods
from mltbench.methods.adjustments import LabelMargin
from mltbench.methods.catalogue import TABLES, register_method
from mltbench.methods.loss import Focal
from mltbench.methods.losses.asymmetric import AsymmetricLoss
from mltbench.methods.losses.zlpr import Zlpr
from mltbench.methods.method import METHODS, Method
from mltbench.methods.part import PARTS, Part
from mltbench.methods.weights import Prevalence
from mltbench.registry import NamedEntries

# Tables 1 and 2, and the ablations: how a row is printed, and what it has besides every image once and a linear layer.
RS = "class-aware"
ROWS = {
    "erm": ("ERM", set()),
    "rw": ("RW", {"inverse-square-root"}),
    "focal": ("Focal", {"focal"}),
    "rs": ("RS", {RS}),
    "rs-focal": ("RS-Focal", {RS, "focal"}),
    "ml-gcn": ("ML-GCN", {"label-graph"}),
    "ldam": ("LDAM", {"label-margin"}),
    "cb-focal": ("CB-Focal", {"effective-number", "focal"}),
    "r-bce": ("R-BCE", {RS, "rebalanced"}),
    "r-bce-focal": ("R-BCE-Focal", {RS, "rebalanced", "focal"}),
    "db": ("DB", {RS, "rebalanced", "negative-tolerant"}),
    "db-focal": ("DB-Focal", {RS, "rebalanced", "negative-tolerant", "focal"}),
    "rs+rw-focal": ("RS+RW-Focal", {RS, "inverse-square-root", "focal"}),
    "rs+cb-focal": ("RS+CB-Focal", {RS, "effective-number", "focal"}),
    "nt-bce": ("NT-BCE", {RS, "negative-tolerant"}),
    "db-symmetric": ("DB-Symmetric", {RS, "rebalanced", "symmetric-tolerant"}),
}
# Table 3 beside its anchors: how a row is printed, what it has, and the values that are not its parts' defaults.
NUMBERS = {"cb_beta": 0.9999, "focal_scale": 1}
SINCE_2020 = {
    "focal-alpha": ("Focal-alpha", {"alpha-focal"}, {}),
    "cb-focal-sum": ("CB-Focal-sum", {"effective-number", "focal"}, {"cb_mode": "sum_w", **NUMBERS}),
    "cb-focal-positives": ("CB-Focal-positives", {"effective-number", "focal"}, {"cb_mode": "positives", **NUMBERS}),
    "cb-focal-class": ("CB-Focal-class", {"effective-number", "alpha-focal"},
                       {"cb_mode": "by_class", "focal_alpha": 0.5, "focal_scale": 10}),
    "ldam-drw": ("LDAM-DRW", {"largest-margin", "deferred-effective-number"}, {}),
    "eql-v2": ("EQL v2", {"eql-v2"}, {}),
    "logit-adjusted": ("Logit-adjusted", {"prior-log-odds"}, {}),
    "asl": ("ASL", {"asl"}, {}),
    "hill": ("Hill", {"hill"}, {}),
    "splc": ("SPLC", {"splc"}, {}),
    "zlpr": ("ZLPR", {"zlpr"}, {}),
    "apl": ("APL", {"apl"}, {}),
    "ral": ("RAL", {"ral"}, {}),
    "two-way": ("Two-way", {"two-way"}, {}),
    "weighted-bce": ("Weighted-BCE", {"prevalence"}, {}),
    "weighted-asl": ("Weighted-ASL", {"prevalence", "asl"}, {"gamma_positive": 1, "focus_gradient": "through"}),
    "multi-grained": ("Multi-Grained", {"multi-grained"}, {}),
    "mfm": ("MFM", {"mfm"}, {}),
    "bal": ("BAL", {"bal"}, {}),
    "rs-focal-alpha": ("RS-Focal-alpha", {RS, "alpha-focal"}, {}),
    "rs-asl": ("RS-ASL", {RS, "asl"}, {}),
    "rs-hill": ("RS-Hill", {RS, "hill"}, {}),
    "rs-splc": ("RS-SPLC", {RS, "splc"}, {}),
    "rs-zlpr": ("RS-ZLPR", {RS, "zlpr"}, {}),
    "rs-apl": ("RS-APL", {RS, "apl"}, {}),
    "rs-ral": ("RS-RAL", {RS, "ral"}, {}),
    "rs-two-way": ("RS-Two-way", {RS, "two-way"}, {}),
    "rs-multi-grained": ("RS-Multi-Grained", {RS, "multi-grained"}, {}),
    "rs-mfm": ("RS-MFM", {RS, "mfm"}, {}),
    "rs-bal": ("RS-BAL", {RS, "bal"}, {}),
    "db-focal-alpha": ("DB-Focal-alpha", {RS, "rebalanced", "negative-tolerant", "alpha-focal"},
                       {"nu": "paper", "focal_alpha": 0.5}),
    "map-surrogate": ("mAP-surrogate", {"map-surrogate", "positives-and-negatives"}, {}),
}  # fmt: skip
STATISTICS = ClassStatistics.from_counts([90, 10], 95)


def test_each_row_of_the_paper_has_its_parts():
    listed = list_methods()[: len(ROWS)]
    assert [method.name for method in listed] == list(ROWS)
    for method in listed:
        title, kinds = ROWS[method.name]
        assert method.title == title
        assert {part.kind for part in method.parts.values()} - {"instance-balanced", "linear"} == kinds
        assert method.schedule == ("re-sampled" if RS in kinds else "plain")
        # One truth for the default values, whatever a row says.
        assert all(part == type(part)() for part in method.parts.values())
    assert (listed[0].sampler.kind, listed[0].head.kind) == ("instance-balanced", "linear")


def test_each_row_since_2020_has_its_parts():
    listed = list_methods()[len(ROWS) : len(ROWS) + len(SINCE_2020)]
    assert [method.name for method in listed] == list(SINCE_2020)
    for method in listed:
        title, kinds, values = SINCE_2020[method.name]
        assert method.title == title
        assert {part.kind for part in method.parts.values()} - {"instance-balanced", "linear"} == kinds
        assert method.schedule == ("re-sampled" if RS in kinds else "plain")
        defaults = {name: value for part in method.parts.values() for name, value in type(part)().parameters.items()}
        assert method.parameters == {**defaults, **values}
        # What is re-sampled is else the row of the same name, and says so.
        if method.name.startswith("rs-"):
            other = get_method(method.name.removeprefix("rs-"))
            assert (method.reference, method.summary) == (other.reference, f"{other.summary}; re-sampled")
            assert {**method.as_json(), "sampler": other.sampler.as_json(), "schedule": "plain"} == other.as_json()


def test_no_two_rows_are_one_experiment():
    listed = list_methods()[: len(ROWS) + len(SINCE_2020)]
    for what in (lambda method: json.dumps(method.as_json()), lambda method: method.title, lambda method: method.name):
        assert len({what(method) for method in listed}) == len(listed)


def test_tables_have_the_papers_rows():
    assert list(TABLES) == [1, 2, 3]
    assert TABLES[1] == tuple(ROWS)[:12]
    assert TABLES[2] == ("rs", "rs-focal", "rs+rw-focal", "rs+cb-focal", "r-bce-focal")
    # Two blocks by sampler, each after its anchors.
    plain = [name for name, (_, kinds, _) in SINCE_2020.items() if not kinds & {RS, "positives-and-negatives"}]
    others = [name for name in SINCE_2020 if name not in plain]
    assert TABLES[3] == ("erm", *plain, "rs", "db-focal", *others)


def test_tables_have_the_rows_that_the_paper_prints(shared_folder):
    with (shared_folder / "paper" / "tables.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for number in (1, 2):
        names = TABLES[number]
        for dataset in ("voc-mlt", "coco-mlt"):
            printed = [row["method"] for row in rows if (row["table"], row["dataset"]) == (str(number), dataset)]
            assert [get_method(name).title for name in names] == printed


@pytest.mark.parametrize(
    ("dataset", "mu", "negative_scale"), [("voc-mlt", 0.3, 5), ("coco-mlt", 0.2, 2), ("of-a-user", 0.3, 5)]
)
def test_values_are_the_papers(dataset, mu, negative_scale):
    assert get_method("db-focal", dataset=dataset).parameters == {
        "images_per_visit": 3, "epoch_fraction": 0.25, "alpha": 0.1, "beta": 10, "mu": mu, "kappa": 0.05,
        "negative_scale": negative_scale, "nu": "published", "gamma": 2, "focal_scale": 2,
    }  # fmt: skip
    assert get_method("r-bce", dataset=dataset).parameters["mu"] == mu
    assert get_method("nt-bce", dataset=dataset).parameters["negative_scale"] == negative_scale


def test_changed_values_reach_their_part():
    method = get_method("db-focal", dataset="coco-mlt").with_parameters(
        kappa=0, gamma=1, images_per_visit=5, nu="paper"
    )
    assert (method.adjustment.kappa, method.adjustment.nu, method.adjustment.negative_scale) == (0, "paper", 2)
    assert (method.focal.gamma, method.sampler.images_per_visit, method.weights.mu) == (1, 5, 0.2)
    assert get_method("db-focal").adjustment.kappa == 0.05
    # A whole number and its float are one value, or the same experiment would have two hashes.
    assert json.dumps(method.as_json()) == json.dumps(method.with_parameters(gamma=1.0, kappa=0.0).as_json())


def test_what_decides_the_numbers_is_in_the_json_and_back():
    method = get_method("db-focal", dataset="coco-mlt").with_parameters(images_per_visit=5, gamma=1)
    assert method.as_json() == {
        "sampler": {"kind": "class-aware", "images_per_visit": 5, "epoch_fraction": 0.25},
        "weights": {"kind": "rebalanced", "alpha": 0.1, "beta": 10.0, "mu": 0.2},
        "adjustment": {"kind": "negative-tolerant", "negative_scale": 2.0, "kappa": 0.05, "nu": "published"},
        "focal": {"kind": "focal", "gamma": 1.0, "focal_scale": 2.0},
        "loss": None,
        "head": {"kind": "linear"},
        "schedule": "re-sampled",
    }
    assert set(method.loss_parameters) == set(method.parameters) - {"images_per_visit", "epoch_fraction"}
    for each in (method, *list_methods()[: len(ROWS)]):
        again = Method.from_json(json.loads(json.dumps(each.as_json())), name="read")
        assert (again.name, again.parts, again.schedule) == ("read", each.parts, each.schedule)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("db-focl", {}, "unknown method 'db-focl'; did you mean 'db-focal'? known: erm, rw, focal"),
        ("db", {"dataset": "voc-mtl"}, "'voc-mtl'; did you mean 'voc-mlt'? known: voc-mlt, coco-mlt, digits-mlt"),
        ("db", {"kapa": 0.1}, "hyper-parameter of the db loss 'kapa'; did you mean 'kappa'? known: alpha, beta"),
        ("erm", {"gamma": 1}, "unknown hyper-parameter of the erm loss 'gamma'; known: (none)"),
        ("ml-gcn", {"graph_width": 8}, "unknown hyper-parameter of the ml-gcn loss 'graph_width'"),
        ("db", {"mu": 1.5}, "mu=1.5 is out of range; it must lie in [0, 1]"),
        ("db", {"negative_scale": 0}, "negative_scale=0 is out of range; it must lie in [0.001, 1000]"),
        ("db", {"kappa": -1}, "kappa=-1 is out of range"),
        ("db", {"nu": "papr"}, "nu='papr' is not a choice; known: 'published', 'paper'"),
        ("db", {"alpha": float("nan")}, "alpha=nan must be a finite number"),
        ("db", {"alpha": True}, "alpha=True must be a finite number"),
        ("db", {"alpha": "0.1"}, "alpha='0.1' must be a finite number"),
        ("focal", {"gamma": -1}, "gamma=-1 is out of range"),
        ("cb-focal", {"cb_beta": 1}, "cb_beta=1 is out of range"),
        (
            "cb-focal",
            {"cb_mode": "by_image"},
            "cb_mode='by_image' is not a choice; known: 'average_w', 'by_class', 'sum_w'",
        ),
        ("ldam", {"ldam_margin": -2}, "ldam_margin=-2 is out of range"),
    ],
)
def test_what_cannot_be_used_is_answered(name, arguments, message):
    with pytest.raises(InputError, match=re.escape(message)):
        create_loss(name, STATISTICS, **{"dataset": "voc-mlt", **arguments})


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("db", {}, ["db", "VOC-MLT", "mu=0.3", "negative_scale=5"]),
        ("db", {"mu": 0.2}, ["VOC-MLT", "negative_scale=5"]),
        ("r-bce", {}, ["VOC-MLT", "mu=0.3"]),
        ("db", {"mu": 0.2, "negative_scale": 2}, []),
        ("erm", {}, []),
        ("db", {"dataset": "voc-mlt"}, []),
        ("db", {"dataset": "coco-mlt"}, []),
    ],
)
def test_taken_values_are_said_unless_the_dataset_is(name, arguments, words, caplog):
    loss = create_loss(name, STATISTICS, **arguments)
    messages = [record.getMessage() for record in caplog.records if record.name == "mltbench"]
    assert len(messages) == bool(words)
    assert all(word in messages[0] for word in words)
    assert ("mu=" in "".join(messages)) == ("mu=0.3" in words)
    assert loss.num_classes == 2


def test_a_method_is_registered_once(own_registrations):
    method = Method(name="own", title="Own", summary="", reference="")
    assert register_method(method) is method
    assert get_method("own") == method
    assert list_methods()[-1] == method
    for taken in (method, get_method("db")):
        with pytest.raises(InputError, match=f"method '{taken.name}' is registered already; choose another name"):
            register_method(taken)


@pytest.mark.parametrize(
    ("parts", "beside"),
    [
        ({"loss": AsymmetricLoss(), "focal": Focal()}, "the loss asl cannot be combined with Focal("),
        ({"loss": Zlpr(), "focal": Focal()}, "the loss zlpr cannot be combined with Focal("),
        ({"loss": Zlpr(), "weights": Prevalence()}, "the loss zlpr cannot be combined with Prevalence("),
        ({"loss": Zlpr(), "adjustment": LabelMargin()}, "the loss zlpr cannot be combined with LabelMargin("),
    ],
)
def test_parts_that_a_loss_does_not_go_with_are_refused(parts, beside):
    with pytest.raises(InputError, match=re.escape(f"own: {beside}")):
        Method(name="own", title="", summary="", reference="", **parts)


def test_a_part_registers_itself_and_its_kind_is_taken_once(monkeypatch):
    monkeypatch.setitem(PARTS, "weights", dict(PARTS["weights"]))

    @dataclass(frozen=True, kw_only=True)
    class Flat(Part, slot="weights", kind="flat"):
        pass

    method = Method(name="flat", title="", summary="", reference="", weights=Flat())
    assert Method.from_json(method.as_json()).weights == Flat()
    with pytest.raises(InputError, match=r"unknown weights 'median' .*inverse-square-root"):
        Method.from_json({**method.as_json(), "weights": {"kind": "median"}})
    # A class that is made again, as by `importlib.reload`, is the same part.
    type("Flat", (Part,), {"__qualname__": Flat.__qualname__, "__module__": __name__}, slot="weights", kind="flat")
    with pytest.raises(InputError, match=r"weights 'flat' is .*Flat already; choose another kind"):

        class Other(Part, slot="weights", kind="flat"):
            pass


def test_another_package_offers_methods_by_entry_point(own_registrations, monkeypatch, tmp_path):
    (tmp_path / "visiting.py").write_text(
        "from mltbench.methods.catalogue import register_method\n"
        "from mltbench.methods.method import Method\n"
        "register_method(Method(name='visitor', title='Visitor', summary='', reference=''))\n"
    )
    described = tmp_path / "visiting-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: visiting\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[mltbench.methods]\nvisitor = visiting\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    # So that it is forgotten afterwards.
    monkeypatch.setitem(sys.modules, "visiting", None)
    del sys.modules["visiting"]
    # As in a process that has not loaded them yet.
    NamedEntries("method", *METHODS.sources, installed=METHODS.installed).load()
    assert get_method("visitor").title == "Visitor"
