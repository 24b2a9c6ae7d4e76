"""What is refused of a submission, and why; what is within the rules is not."""

import json
import re
from copy import deepcopy

import pytest
from mltbench.errors import InputError
from mltbench.reports.leaderboard.check import check, check_scores, known_datasets
from submissions import DIGEST, KNOWN, TOY_KNOWN, TOY_SIZES, submission, toy

GOOD = submission("broken", 60)
# 41, 68, 96, 74 and 51: 66 in total, 96, 71 and 46 by group; the other seed lies one point above.
TOY = toy("toy", {3: 66, 8: 67})


def faults(change, data=TOY, known=TOY_KNOWN):
    data = deepcopy(data)
    change(data)
    return [str(fault) for fault in check(data, known)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d.pop("author"), "'author' is a required property"),
        (lambda d: d.update(surprise=1), "'surprise' was unexpected"),
        (lambda d: d.update(id="CON/x"), "id = 'CON/x': must match"),
        (lambda d: d.update(id="db\n"), "id = "),
        (lambda d: d.update(id="a" * 65), "id = "),
        (lambda d: d.update(method="a\u202eb"), "method = "),
        (lambda d: d.update(code="https://x.org/\"onclick='x'"), "code = "),
        (lambda d: d["protocol"].update(split="validation"), "protocol.split = 'validation'"),
        (lambda d: d["protocol"].update(chosen_on="test"), "protocol.chosen_on = 'test'"),
        (lambda d: d["protocol"].update(epoch="best"), "protocol.epoch = 'best'"),
        (lambda d: d.update(dataset="voc"), "dataset = 'voc': not a dataset of this board; known: digits-mlt"),
        (lambda d: d.update(dataset_digest="0" * 64), "dataset_digest = '0000.*results on digits-mlt count for ced2c8"),
        (lambda d: d["runs"][1].update(seed=0), "seed 0 2 times"),
        (lambda d: d["runs"][1].update(seed=-1), r"runs\[1\]\.seed = -1"),
        (lambda d: d["runs"][1].update(ap=dict(reversed(d["runs"][0]["ap"].items()))), "the same ap for several seeds"),
        (lambda d: d["runs"][0]["ap"].update({"red 0": 100.1}), r"runs\[0\].*red 0.* = 100\.1"),
        (lambda d: d["runs"][0]["ap"].update({"red 0": -0.1}), r"runs\[0\].*red 0.* = -0\.1"),
        (lambda d: d["runs"][0].update(head=100.1), r"runs\[0\]\.head = 100\.1"),
        (lambda d: d["runs"][0]["ap"].pop("red 0"), "exactly the classes of training_images"),
        (lambda d: d["runs"][2]["ap"].update({"red 10": 5.0}), r"runs\[2\]\.ap.*red 10.*exactly the classes"),
        (lambda d: [run["ap"].update({"red 0": None}) for run in d["runs"]], "have test images"),
        (lambda d: d["training_images"].update({"red 0": 500}), "training_images = .*digits-mlt has"),
        (lambda d: d["training_images"].update({"red 0": 0}), r"training_images.*red 0.* = 0"),
        (lambda d: d["runs"].clear(), "runs = "),
    ],
)
def test_a_fault_names_field_value_and_cure(change, reason):
    (fault, *_) = faults(change, GOOD, KNOWN)
    assert re.search(reason, fault)


def test_good_submissions_have_no_fault():
    assert check(GOOD, KNOWN) == check(TOY, TOY_KNOWN) == []
    # What stands on a bound, and what need not be claimed.
    for change in (
        lambda d: d.update(id="a" * 64),
        lambda d: d.update(dataset_digest="e" * 64),
        lambda d: d["protocol"].update(chosen_on="validation"),
        lambda d: d["runs"][0].pop("tail"),
        lambda d: d["runs"][0].update(medium=71),
        lambda d: d["runs"].pop(),
        lambda d: d["runs"][1].update(seed=0),
    ):
        assert faults(change) == []


@pytest.mark.parametrize(("name", "mean", "of"), [
    ("total", 67, "all classes"), ("head", 97, "its 1 classes"), ("medium", 72, "its 2 classes"),
    ("tail", 47, "its 2 classes"),
])  # fmt: skip
def test_every_mean_that_is_claimed_is_that_of_its_classes_as_nearly_as_two_decimals_tell(name, mean, of):
    for off in (0.01, -0.01):
        assert faults(lambda d, off=off: d["runs"][1].update({name: mean + off})) == []
    for off in (0.02, -0.02, 1):
        (fault,) = faults(lambda d, off=off: d["runs"][1].update({name: mean + off}))
        assert fault == f"runs[1].{name} = {mean + off}: the mean of ap over {of} is {mean}.00; correct one of them"


def test_a_mean_of_a_group_without_classes_cannot_be_claimed():
    """Neither of one that the dataset does not have, nor of one whose classes have no test images."""
    data = deepcopy(TOY)
    for run in data["runs"]:
        del run["tail"]
        run["total"] = (run["ap"]["edge"] + run["ap"]["common"] + run["ap"]["middle"]) / 3
        run["ap"] |= {"rare": None, "single": None}
    known = {"toy": TOY_KNOWN["toy"] | {"without_test_images": ["rare", "single"]}}
    assert faults(lambda d: None, data, known) == []
    (fault,) = faults(lambda d: d["runs"][0].update(tail=5), data, known)
    assert fault.startswith("runs[0].tail = 5: the mean of ap over its 2 classes is undefined")


@pytest.mark.parametrize(
    ("without", "empty", "faulty"),
    [
        # Where it is known which classes have no test images, no other may lack its number.
        (["rare"], [["rare"], ["rare"]], []),
        (["rare"], [["rare"], []], []),
        (["rare"], [["rare", "edge"], ["rare"]], [0]),
        ([], [["rare"], ["rare"]], [0, 1]),
        # Where it is not, what all seeds lack is without test images.
        (None, [["rare"], ["rare"]], []),
        (None, [["rare"], []], [0]),
        (None, [["rare"], ["rare", "edge"]], [1]),
    ],
)
def test_a_class_lacks_its_number_only_without_test_images(without, empty, faulty):
    def leave_out(data):
        for run, names in zip(data["runs"], empty, strict=True):
            run["ap"] |= dict.fromkeys(names)
            known = [value for value in run["ap"].values() if value is not None]
            run["total"] = sum(known) / len(known)
            del run["tail"]

    known = {"toy": TOY_KNOWN["toy"] | {"without_test_images": without}}
    found = faults(leave_out, known=known)
    assert [fault.partition(" = ")[0] for fault in found] == [f"runs[{i}].ap" for i in faulty]
    assert all("have test images" in fault for fault in found)


def test_no_number_at_all_is_a_fault_wherever_classes_may_lack_one():
    data = deepcopy(TOY)
    for i, run in enumerate(data["runs"]):
        run["ap"] = dict.fromkeys(TOY_SIZES)
        run["seed"] = i
    known = {"toy": {"digests": ["d" * 64]}}
    found = faults(lambda d: None, data, known)
    assert any("give the average precision of every class" in fault for fault in found)


def test_class_sizes_are_the_datasets_own_where_these_are_known():
    (fault,) = faults(lambda d: d["training_images"].update(rare=20))
    assert fault == "training_images = {\"rare\": 20}: toy has {'rare': 19}"
    # An owner may leave them open; then the means by group are those of the sizes that are given.
    known = {"toy": {"digests": ["d" * 64]}}
    (fault, _) = faults(lambda d: d["training_images"].update(rare=20), known=known)
    assert fault == "runs[0].tail = 46: the mean of ap over its 1 classes is 51.00; correct one of them"


def test_all_faults_of_a_kind_are_named_those_of_the_schema_before_those_of_the_numbers():
    def change(data):
        data["runs"][0].update(total=1, seed=8)
        data["dataset_digest"] = "0" * 64
        data["runs"][1]["ap"] |= {"more": 1, "rare": None}

    fields = [fault.partition(" = ")[0] for fault in faults(change)]
    assert fields == ["dataset_digest", "runs", "runs[1].ap"]
    assert [fault.partition(" = ")[0] for fault in faults(lambda d: (change(d), d.update(method="\t")))] == ["method"]
    found = faults(lambda d: [run.update(total=1, head=2) for run in d["runs"]])
    assert [fault.partition(" = ")[0] for fault in found] == [
        "runs[0].total", "runs[0].head", "runs[1].total", "runs[1].head",
    ]  # fmt: skip


@pytest.mark.parametrize("data", [None, [], 3, "x", {}, {"runs": {}}])
def test_anything_is_checked_without_a_crash(data):
    assert check(data, KNOWN)


def test_scores_are_compared_with_the_claims_of_their_seed():
    third, eighth = (dict(run["ap"]) for run in TOY["runs"])
    assert check_scores(TOY, 3, third) == check_scores(TOY, 8, eighth) == []
    assert check_scores(TOY, 8, {name: value - 0.01 for name, value in eighth.items()}) == []
    found = check_scores(TOY, 8, eighth | {"rare": 42.02, "edge": 68.98, "single": None})
    assert [str(fault) for fault in found] == [
        "runs[1].ap['rare'] = 42: the scores of seed 8 give 42.02",
        "runs[1].ap['edge'] = 69: the scores of seed 8 give 68.98",
        "runs[1].ap['single'] = 52: the scores of seed 8 give undefined (no such class)",
    ]
    assert len(check_scores(TOY, 3, eighth)) == len(TOY_SIZES)
    (fault,) = check_scores(TOY, 5, third)
    assert str(fault) == "runs = [3, 8]: has no seed 5, but scores of it"


def test_a_folder_adds_datasets_to_those_that_the_suite_knows(tmp_path):
    assert set(known_datasets()) == set(known_datasets(tmp_path)) == {"digits-mlt"}
    own = {"mine": {"digests": ["1" * 64], "without_test_images": None}, "digits-mlt": {"digests": []}}
    (tmp_path / "datasets.json").write_text(json.dumps(own))
    assert known_datasets(tmp_path) == own
    assert known_datasets()["digits-mlt"]["digests"] == [DIGEST]
    for wrong in ([], {"mine": {}}, {"mine": {"digests": "1"}}, {"mine": {"digests": [1]}}):
        (tmp_path / "datasets.json").write_text(json.dumps(wrong))
        with pytest.raises(InputError, match=r"each dataset needs `digests`, a list of SHA-256"):
            known_datasets(tmp_path)
