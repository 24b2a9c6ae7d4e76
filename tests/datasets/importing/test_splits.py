"""How images are divided: whole groups, small classes spared, costs said, and no option without an effect."""

import random
import re

import numpy as np
import pytest
from mltbench.datasets.dataset import SPLITS
from mltbench.datasets.importing.splits import SplitOptions, divide, parse_long_tail
from mltbench.datasets.long_tail import drawing
from mltbench.datasets.long_tail.drawing import choose_like
from mltbench.datasets.long_tail.selection import pareto_targets, select_head_to_tail
from mltbench.errors import InputError

NAMES = ("person", "dog", "heron", "stork")
GIVEN = ["train"] * 150 + ["test"] * 50


def small_labels(images, seed=0, classes=4):
    generator = np.random.default_rng(seed)
    labels = (generator.random((images, classes)) < 0.8 / np.arange(1, classes + 1) ** 1.5).astype(np.uint8)
    labels[np.arange(20) % images, np.arange(20) % classes] = 1
    return labels


def test_no_group_lies_in_two_splits_in_hundreds_of_draws(monkeypatch):
    monkeypatch.setattr(drawing, "STARTS", 1)  # for speed: the others choose among draws like this one
    shares = []
    for seed in range(300):
        generator = np.random.default_rng(seed)
        images, wanted = int(generator.integers(60, 100)), SplitOptions(seed=seed, test_share=0.3)
        labels = small_labels(images, seed, classes=2)
        # Of one image to many.
        groups = [f"patient {i}" for i in (generator.power(0.7, images) * generator.integers(15, 50)).astype(int)]
        given = [None] * images
        if seed % 3 == 0:  # a test split of whole groups is given
            held = set(list(dict.fromkeys(groups))[::4])
            given, wanted = ["test" if group in held else "train" for group in groups], SplitOptions(seed=seed)
        rows, _ = divide(labels, given, wanted, groups=groups)
        found = [{groups[row] for row in rows[name]} for name in SPLITS]
        assert not found[0] & found[1] | found[0] & found[2] | found[1] & found[2], seed
        assert len({row for name in SPLITS for row in rows[name]}) == sum(map(len, rows.values()))
        if seed % 3:
            shares.append(len(rows["test"]) / images)
    assert max(shares) <= 0.3 + 0.5 / 60
    assert np.median(shares) > 0.28
    assert np.mean(np.array(shares) > 0.25) > 0.95


@pytest.mark.parametrize("long_tail", [None, "max=25,min=2"])
def test_a_validation_split_shares_no_group_with_train(long_tail):
    labels, groups = small_labels(200), [f"study {i // 4}" for i in range(200)]
    rows, remarks = divide(labels, GIVEN[:148] + ["test"] * 52, SplitOptions(long_tail=long_tail), groups=groups)
    assert rows["validation"]
    assert not {groups[i] for i in rows["validation"]} & {groups[i] for i in rows["train"]}
    assert any("share a group with a training image" in remark for remark in remarks) == bool(long_tail)


def test_given_splits_that_divide_a_group_are_refused_with_an_example():
    groups = [f"p{i // 20}" for i in range(200)]
    with pytest.raises(
        InputError, match=r"group 'p7' lies in train and test; 1 of 10 groups .*leaving out --group-column"
    ):
        divide(small_labels(200), ["train"] * 150 + ["test"] * 50, SplitOptions(), groups=groups)


# Of 1,000 images two fifths have a label, of 100 test images half.
SPARSE = np.repeat([[1, 0], [0, 1], [0, 0]], (200, 200, 600), axis=0).astype(np.uint8)
SPARSE_TEST = np.repeat([[1, 0], [0, 1], [0, 0]], (20, 10, 70), axis=0).astype(np.uint8)


def test_validation_is_like_the_test_split_and_test_like_the_images_that_it_is_drawn_from():
    labels = np.vstack([SPARSE, SPARSE_TEST])
    rows, remarks = divide(labels, ["train"] * 1000 + ["test"] * 100, SplitOptions(), class_names=("cat", "dog"))
    assert rows["test"] == list(range(1000, 1100))
    # 150 images: a fifth have a cat and a tenth a dog.
    assert (len(rows["validation"]), labels[rows["validation"]].sum(0).tolist()) == (150, [30, 15])
    # Training images without any label are left out, those of the other splits are not.
    assert labels[rows["train"]].sum(0).tolist() == [170, 185]
    assert len(rows["train"]) == 355
    assert remarks == [
        "validation: 150 images set aside from train, seed 0",
        "validation: classes lost 15 to 30 images",
        "train: 495 images without any label left out",
    ]
    assert not set(rows["validation"]) & set(rows["train"])
    # 300 of 1,000 images, then 105 of the other 700, all of which have cats and dogs alike.
    rows, remarks = divide(SPARSE, [None] * 1000, SplitOptions(), class_names=("cat", "dog"))
    held = {name: (len(rows[name]), SPARSE[rows[name]].sum(0).tolist()) for name in SPLITS}
    assert held == {"train": (238, [119, 119]), "validation": (105, [21, 21]), "test": (300, [60, 60])}
    assert sorted(rows["train"] + rows["validation"] + rows["test"] + leftover(rows)) == list(range(1000))
    assert remarks[0] == "test: 300 images set aside from train, seed 0"


@pytest.mark.parametrize("seed", [None, 0, 3])
@pytest.mark.parametrize("groups", [None, [f"{i // 2}" for i in range(200)]])
def test_splits_are_drawn_one_after_the_other_from_the_seed(seed, groups):
    labels, everything = small_labels(200), list(range(200))

    def drawn(pool, model, size, **limits):
        of_pool = None if groups is None else [groups[i] for i in pool]
        rows = choose_like(labels[pool], labels[model], size, seed=seed or 0, groups=of_pool, **limits)
        return [pool[row] for row in rows]

    rows, _ = divide(
        labels, [None] * 200, SplitOptions(seed=seed, test_share=0.2, validation_share=0.13), groups=groups
    )
    assert rows["test"] == drawn(everything, everything, 40, largest_share=0.2)
    left = [i for i in everything if i not in rows["test"]]
    assert 0.13 * len(left) % 1 > 0.5
    assert rows["validation"] == drawn(left, rows["test"], round(0.13 * len(left)), largest_share=0.13)
    assert rows["train"] == [i for i in left if i not in rows["validation"] and labels[i].any()]

    # A long tail is cut from the images with labels; validation is drawn from all that it leaves over.
    options = SplitOptions(seed=seed, long_tail="max=20,min=2,power=3", validation_share=0.158)
    rows, _ = divide(labels, GIVEN, options, groups=groups)
    candidates = [i for i in range(150) if labels[i].any()]
    targets = pareto_targets(4, largest=20, smallest=2, power=3)
    chosen = select_head_to_tail(labels[candidates], targets, random.Random(seed or 0), order=sorted)
    assert len(candidates) < 150
    assert rows["train"] == [candidates[i] for i in chosen]
    held = {groups[i] for i in rows["train"]} if groups else set()
    free = [i for i in range(150) if i not in rows["train"] and not (groups and groups[i] in held)]
    assert rows["validation"] == drawn(free, rows["test"], 24)
    assert rows["test"] == list(range(150, 200))


def leftover(rows):
    return [i for i in range(1000) if not any(i in found for found in rows.values())]


def test_splits_that_are_given_stay_as_they_are():
    labels = np.vstack([SPARSE, SPARSE_TEST])
    given = ["validation", "train", "train", "test"] * 275
    rows, remarks = divide(labels, given, SplitOptions())
    assert rows["validation"] == list(range(0, 1100, 4))
    assert rows["test"] == list(range(3, 1100, 4))
    assert rows["train"] == [i for i in range(1100) if i % 4 in (1, 2) and labels[i].any()]
    assert len(remarks) == 1
    # A long tail is cut from the training images alone.
    tailed, _ = divide(labels, given, SplitOptions(long_tail="max=30,min=3"))
    assert (tailed["validation"], tailed["test"]) == (rows["validation"], rows["test"])
    assert len(tailed["train"]) < 60
    assert set(tailed["train"]) < set(rows["train"])


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("max=800,min=2", {"largest": 800, "smallest": 2}),
        (" min = 3 , max = 50 , power = 2.5 ", {"largest": 50, "smallest": 3, "power": 2.5}),
        ("max=7", {"largest": 7}),
    ],
)
def test_a_long_tail_is_read_as_it_is_written(text, arguments):
    assert parse_long_tail(text) == arguments
    for wrong, words in ((text.replace("max", "top"), "unknown key"), ("min=2", "needs max"), ("max=2.5", "a number")):
        with pytest.raises(InputError, match=words):
            parse_long_tail(wrong)


def test_unknown_labels_are_none_and_a_split_needs_one():
    labels = small_labels(200)
    unknown = np.where((labels == 0) & (np.random.default_rng(1).random(labels.shape) < 0.5), 255, labels)
    unknown = unknown.astype(np.uint8)
    assert divide(unknown, [None] * 200, SplitOptions())[0] == divide(labels, [None] * 200, SplitOptions())[0]
    labels[:150] = 0
    with pytest.raises(InputError, match="no image of the split train has a label"):
        divide(labels, GIVEN, SplitOptions(validation=False))
    with pytest.raises(InputError, match="no image is in the split train"):
        divide(labels, ["test"] * 200, SplitOptions(validation=False))
    labels[:150, :3] = 1
    with pytest.raises(InputError, match="class 'stork' has no training image"):
        divide(labels, GIVEN, SplitOptions(validation=False), class_names=NAMES)


def test_no_class_gives_more_than_its_share_and_the_small_ones_none():
    labels = np.vstack([np.repeat(np.eye(4, dtype=np.uint8), (100, 60, 8, 6), axis=0), np.ones((1, 4), np.uint8)])
    rows, remarks = divide(labels, ["train"] * 174 + ["test"], SplitOptions(), class_names=NAMES)
    assert labels[rows["validation"]].sum(0).tolist() == [15, 9, 1, 0]
    assert remarks == [
        "validation: 25 images set aside from train, seed 0 (26 wanted; no class gives more than 0.15 of its images)",
        "validation: classes lost 0 to 15 images, of the tail: heron 8 -> 7",
        "validation: no image of stork (1 of 4 classes), left out of its mAP",
    ]


def test_a_class_is_of_the_tail_below_twenty_images():
    labels = np.vstack([np.repeat(np.eye(4, dtype=np.uint8), (99, 23, 22, 5), axis=0), np.ones((1, 4), np.uint8)])
    _, remarks = divide(labels, ["train"] * 149 + ["test"], SplitOptions(), class_names=NAMES)
    # Of 23 dogs 20 are left.
    assert remarks[1] == "validation: classes lost 0 to 14 images, of the tail: heron 22 -> 19"


def test_with_a_long_tail_validation_is_what_the_cut_leaves_over():
    labels = small_labels(200)
    rows, remarks = divide(labels, GIVEN, SplitOptions(long_tail="max=20,min=2"), class_names=NAMES)
    without, _ = divide(labels, GIVEN, SplitOptions(long_tail="max=20,min=2", validation=False), class_names=NAMES)
    # It takes nothing from train.
    assert rows["train"] == without["train"]
    assert "validation" not in without
    assert len(rows["validation"]) == round(0.15 * 150)
    assert not set(rows["validation"]) & set(rows["train"] + rows["test"])
    # As frequent as in the test split, as far as what is left over has them.
    left_over = [i for i in range(150) if i not in rows["train"]]
    wanted = np.minimum(labels[rows["test"]].mean(0) * len(rows["validation"]), labels[left_over].sum(0))
    assert np.abs(labels[rows["validation"]].sum(0) - wanted).max() < 1
    left = re.search(r"validation: 22 of the (\d+) images that the long tail leaves over, seed 0", "\n".join(remarks))
    assert int(left[1]) == len(left_over)


def test_of_a_long_tail_one_image_is_left_for_validation_at_least():
    labels = np.ones((200, 4), np.uint8)
    rows, _ = divide(labels, GIVEN, SplitOptions(long_tail="max=20", validation_share=0.001))
    assert len(rows["validation"]) == 1


def test_fewer_images_than_wanted_are_taken_and_said():
    labels = np.repeat(np.eye(4, dtype=np.uint8), 40, axis=0)
    given = ["train", "train", "train", "test"] * 40
    options = SplitOptions(long_tail="max=29,min=25", validation_share=0.5)
    rows, remarks = divide(labels, given, options, class_names=NAMES)
    assert len(rows["train"]) + len(rows["validation"]) == 120
    assert f"validation: {len(rows['validation'])} (60 wanted) of the" in "\n".join(remarks)


def test_without_validation_there_are_two_splits_and_a_remark_on_what_follows():
    labels = small_labels(200)
    labels[:, 0] = 1
    rows, remarks = divide(labels, [None] * 200, SplitOptions(validation=False))
    assert {name: len(found) for name, found in rows.items()} == {"train": 140, "test": 60}
    assert "studies and --evaluate-every need one" in remarks[-1]


ALL_GIVEN = ["train"] * 100 + ["validation"] * 50 + ["test"] * 50


@pytest.mark.parametrize(
    ("given", "options", "reason"),
    [
        (GIVEN, {"test_share": 0.3}, "--test-share has no effect: the labels give the test split, 50 images"),
        (ALL_GIVEN, {"validation_share": 0.15}, "--validation-share has no effect: the labels give the validation"),
        (ALL_GIVEN, {"validation": False}, "--no-validation, but the labels give a validation split, 50 images"),
        (ALL_GIVEN, {"seed": 0}, "--seed 0 has no effect: nothing is drawn"),
        (GIVEN, {"seed": 0, "validation": False}, "--seed 0 has no effect"),
        (GIVEN, {"validation_share": 0.001}, "--validation-share 0.001: that is less than one of 150 images"),
        ([None] * 200, {"test_share": 0.001}, "--test-share 0.001: that is less than one of 200 images"),
        (GIVEN, {"long_tail": "max=9999,min=9999"}, "from the 0 images that the long tail leaves over; cut more"),
    ],
)
def test_options_without_effect_and_splits_without_images_are_refused(given, options, reason):
    labels = small_labels(200)
    labels[:, 0] = 1
    with pytest.raises(InputError, match=re.escape(reason)):
        divide(labels, given, SplitOptions(**options))


def test_a_seed_is_used_by_any_draw():
    for given, options in (([None] * 200, {}), (GIVEN, {}), (ALL_GIVEN, {"long_tail": "max=20"})):
        rows, _ = divide(small_labels(200), given, SplitOptions(seed=1, **options))
        assert rows != divide(small_labels(200), given, SplitOptions(**options))[0]


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        (["a"] * 200, "all 200 images are of one group, 'a', and groups stay whole; name another column"),
        (["a"] * 100 + ["b"] * 100, "every labelled group holds more than this share of one of its classes"),
        ([""] + ["a"] * 199, "1 image without a group, first image 1"),
    ],
)
def test_groups_that_cannot_be_divided_are_refused(groups, reason):
    with pytest.raises(InputError, match=reason):
        divide(small_labels(200), [None] * 200, SplitOptions(), groups=groups)


def test_what_earlier_imports_recorded_is_what_the_same_options_record():
    earlier = {"test_share": 0.3, "validation_share": 0.15, "seed": 0, "long_tail": None}
    assert SplitOptions().recorded() == earlier
    assert SplitOptions(test_share=0.3, validation_share=0.15, seed=0).recorded() == earlier
    assert SplitOptions(validation=False).recorded() == earlier | {"validation": False}
    assert SplitOptions(seed=3, long_tail="max=9").recorded() == earlier | {"seed": 3, "long_tail": "max=9"}


def test_shares_that_are_none_are_refused():
    for wrong in ({"test_share": 0}, {"validation_share": 1.0}, {"seed": -1}, {"long_tail": "least=2"}):
        with pytest.raises(InputError, match="|".join(["must lie between 0 and 1", "0 or more", "unknown key"])):
            SplitOptions(**wrong)
    with pytest.raises(InputError, match="--validation-share and --no-validation exclude each other"):
        SplitOptions(validation=False, validation_share=0.2)
