"""Scores in files: ranked as they are, matched by name, refused with what is wrong."""

import numpy as np
import pytest
from mltbench.datasets.dataset import Dataset, Split
from mltbench.errors import InputError
from mltbench.reports.leaderboard.score_files import rescore
from sklearn.metrics import average_precision_score

CLASSES = ("cat", "café", "Nodule/Mass")
IDS = np.array([f"p{i:03}.png" for i in range(60)])


@pytest.fixture(scope="module")
def labels():
    return (np.random.default_rng(0).random((60, 3)) < 0.3).astype(np.uint8)


@pytest.fixture(scope="module")
def dataset(labels):
    images = np.zeros((60, 2, 2, 3), dtype=np.uint8)
    return Dataset.in_memory("small", CLASSES, {"test": Split(images=images, labels=labels, ids=IDS)})


@pytest.fixture
def rescored(dataset, tmp_path):
    """Write arrays as a file, and score it again."""

    def write(scores, ids=IDS, classes=CLASSES, **others):
        np.savez(tmp_path / "scores.npz", scores=scores, ids=ids, classes=classes, **others)
        return rescore(tmp_path / "scores.npz", dataset)

    return write


def by_scikit_learn(scores, labels):
    return [100 * average_precision_score(labels[:, i], scores[:, i]) for i in range(3)]


def logits(labels, offset=20.0):
    return offset + 2 * labels + np.random.default_rng(1).normal(0, 1, labels.shape)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def test_confident_probabilities_of_float64_are_scored_as_their_logits(rescored, labels):
    found = [rescored(scores) for scores in (logits(labels), sigmoid(logits(labels)))]
    assert found[0] == found[1]
    assert list(found[0].ap.values()) == pytest.approx(by_scikit_learn(logits(labels), labels))
    assert found[0].remarks == ()


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.longdouble, np.int8, np.uint8, np.int64, bool]
)
def test_scores_are_ranked_in_their_own_type(rescored, labels, dtype):
    scores = np.clip(20 * logits(labels, offset=2), 0, 127).astype(dtype)
    assert list(rescored(scores).ap.values()) == pytest.approx(by_scikit_learn(scores.astype(np.float64), labels))


def test_scores_that_overflow_a_smaller_type_and_large_integers_keep_their_order(rescored, labels):
    order = np.argsort(np.argsort(logits(labels), axis=0), axis=0)
    for scores in (1e300 * (1 + order), 2**62 + order, np.float64(1) + order * np.finfo(float).eps):
        assert list(rescored(scores).ap.values()) == pytest.approx(by_scikit_learn(order, labels))


def test_saturated_scores_get_a_remark_with_their_share_and_the_cure(rescored, labels):
    scores = sigmoid(logits(labels).astype(np.float32))
    scores[:45] = 1.0
    (remark,) = rescored(scores).remarks
    assert "give logits, or probabilities in float64" in remark
    tied = np.mean([[(column == score).sum() > 1 for score in column] for column in scores.T])
    assert remark.startswith(f"{tied:.0%} of the scores (float32) equal another image's")


def test_one_score_in_twenty_may_not_be_tied(rescored, labels):
    few, many = logits(labels), logits(labels)
    # Eight of 180 scores, and nine.
    few[:4, 0], few[4:8, 1] = 1.0, 2.0
    many[:5, 0], many[4:8, 1] = 1.0, 2.0
    assert [len(rescored(scores).remarks) for scores in (few, many)] == [0, 1]
    largest = logits(labels)
    largest[:9, 0] = 99.0
    assert len(rescored(largest).remarks) == 1
    # A score that another class has too is no tie.
    many[:5, 0] = 3.0 + np.arange(5)
    many[:4, 2] = 3.0 + np.arange(4)
    assert rescored(many).remarks == ()


def test_images_and_classes_are_matched_by_name_in_any_order(rescored, labels):
    rows, columns = np.random.default_rng(2).permutation(60), [2, 0, 1]
    scores = logits(labels)
    found = rescored(scores[rows][:, columns], IDS[rows], np.array(CLASSES)[columns])
    assert found.ap == rescored(scores).ap
    assert [remark.partition(";")[0] for remark in found.remarks] == [
        "images are matched by id",
        "classes are matched by name",
    ]
    # The other form of the same characters, and bytes, are the same names.
    assert rescored(scores, IDS.astype(bytes), ["cat", "cafe\u0301", "Nodule/Mass"]).ap == found.ap


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_named_by_image_and_class(rescored, labels, value):
    scores = logits(labels)
    scores[7, 1] = scores[9, 2] = value
    with pytest.raises(InputError, match=rf"image 'p007\.png', class 'café', is {value}, and 1 more are not finite"):
        rescored(scores[::-1], IDS[::-1])


WRONG = {
    "missing images": ({"ids": IDS[:58], "rows": 58}, r"2 images missing: 'p058\.png', 'p059\.png'"),
    "another image": (
        {"ids": np.where(IDS == "p003.png", "x", IDS)},
        r"1 image missing: 'p003.*1 image .* not have: 'x'",
    ),
    "an image twice": ({"ids": np.where(IDS == "p003.png", "p004.png", IDS)}, r"1 image more than once: 'p004\.png'"),
    "other classes": (
        {"classes": ["cat", "dog", "Nodule/Mass"]},
        r"1 class missing: 'café'; 1 class .* not have: 'dog'",
    ),
    "too few rows": ({"rows": 59}, r"scores are \(59, 3\), and must have one row for each of 60 ids"),
    "texts": ({"scores": np.full((60, 3), "high")}, r"scores are <U4, and must be numbers"),
    "objects": ({"ids": IDS.astype(object)}, r"np\.array\(names, dtype=str\)"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_the_test_split_is_named(what, rescored, labels):
    changes, message = WRONG[what]
    scores = changes.get("scores", logits(labels)[: changes.get("rows", 60)])
    with pytest.raises(InputError, match=message):
        rescored(scores, changes.get("ids", IDS), changes.get("classes", CLASSES))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must hold the arrays scores"),
        (b"PK\x03\x04 cut off", "must hold the arrays scores"),
        (b"no archive", "must hold the arrays scores"),
        ({"scores": np.ones(3), "logits": np.ones(3)}, "it has no ids and no classes, but scores, logits"),
    ],
)
def test_files_of_other_things_are_refused(content, message, dataset, tmp_path):
    path = tmp_path / "scores.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    with pytest.raises(InputError, match=message):
        rescore(path, dataset)
    with pytest.raises(InputError, match="must hold the arrays"):
        rescore(tmp_path / "absent.npz", dataset)
