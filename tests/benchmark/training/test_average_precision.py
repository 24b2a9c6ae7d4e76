import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mltbench.benchmark.training import metrics
from mltbench.benchmark.training.metrics import CLASSES_AT_ONCE, average_precision, score
from mltbench.datasets.long_tail.statistics import UNKNOWN, ClassStatistics
from mltbench.errors import InputError
from sklearn.metrics import average_precision_score


def random_case(seed, *, images=400, classes=7, share=0.2):
    generator = np.random.default_rng(seed)
    labels = (generator.random((images, classes)) < share).astype(np.uint8)
    labels[0] = 1
    scores = (generator.standard_normal((images, classes)) + labels).astype(np.float32)
    return scores, labels


def by_scikit_learn(scores, labels):
    return np.array([average_precision_score(labels[:, c], scores[:, c]) for c in range(labels.shape[1])])


def by_definition(scores, labels):
    """Mean over the positives of the share of positives among everything that scores at least as high."""
    result = []
    for column, truth in zip(scores.T, labels.T, strict=True):
        shares = [truth[column >= column[i]].mean() for i in np.flatnonzero(truth)]
        result.append(np.mean(shares) if shares else np.nan)
    return np.array(result)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda scores: scores, id="as drawn"),
        pytest.param(lambda scores: np.round(scores), id="heavy ties"),
        pytest.param(lambda scores: np.round(scores * 8) / 8, id="some ties"),
        pytest.param(lambda scores: torch.from_numpy(scores).bfloat16().float().numpy(), id="bfloat16"),
        pytest.param(np.zeros_like, id="all equal"),
        pytest.param(lambda scores: np.sign(scores) * np.float32(0), id="both zeros"),
        pytest.param(lambda scores: scores.astype(np.float64) / 3, id="float64"),
        pytest.param(lambda scores: np.where(scores > 1, np.inf, scores), id="infinite"),
        pytest.param(lambda scores: np.repeat(scores, 2, axis=1)[:, ::-2], id="not contiguous"),
    ],
)
def test_it_is_scikit_learns_average_precision(seed, change):
    scores, labels = random_case(seed)
    changed = change(scores)
    kept = changed.tobytes(), labels.tobytes()
    finite = np.where(np.isinf(changed), 1e30, changed)  # scikit-learn takes no infinity
    assert average_precision(changed, labels) == pytest.approx(by_scikit_learn(finite, labels), abs=1e-12)
    assert (changed.tobytes(), labels.tobytes()) == kept


@pytest.mark.parametrize(
    ("images", "classes"), [(1, 1), (2, 1), (300, 1), (50, 2), (60, CLASSES_AT_ONCE + 1), (40, 200)]
)
def test_any_number_of_classes(images, classes):
    scores, labels = random_case(5, images=images, classes=classes)
    assert average_precision(scores, labels) == pytest.approx(by_scikit_learn(scores, labels), abs=1e-12)


def test_a_hand_computed_case():
    # Ranks: .9 +, .8 -, then a tie of .7 + and .7 -, then .1 +; thresholds give 1/1, 2/4, 3/5.
    scores = np.array([[0.7, 0.9, 0.1, 0.8, 0.7]], dtype=np.float32).T
    labels = np.array([[1, 1, 1, 0, 0]], dtype=np.uint8).T
    assert average_precision(scores, labels).tolist() == pytest.approx([(1 + 2 / 4 + 3 / 5) / 3], abs=1e-15)


def test_all_positive_is_one_and_no_positive_is_nan():
    scores, _ = random_case(1, classes=2)
    labels = np.stack([np.ones(400), np.zeros(400)], axis=1).astype(np.uint8)
    ones, nothing = average_precision(scores, labels)
    assert ones == 1.0
    assert np.isnan(nothing)


def test_group_means_are_those_of_a_plain_loop():
    counts = [150, 100, 99, 20, 19, 4, 30]
    scores, labels = random_case(4)
    labels[:, 3] = 0  # of the medium group, absent from the test split
    result = score(scores, labels, ClassStatistics.from_counts(counts, 400))
    expected = {"head": [], "medium": [], "tail": []}
    for c, count in enumerate(counts):
        if labels[:, c].any():
            group = "head" if count >= 100 else "tail" if count < 20 else "medium"
            expected[group].append(average_precision_score(labels[:, c], scores[:, c]))
    assert result.groups == {group: pytest.approx(sum(v) / len(v), abs=1e-12) for group, v in expected.items()}
    everything = [value for values in expected.values() for value in values]
    assert len(everything) == 6
    assert result.total == pytest.approx(sum(everything) / 6, abs=1e-12)
    assert result.excluded == (3,)
    assert np.isnan(result.per_class[3])
    named = {"total": result.total, **result.groups}
    assert result.as_metrics("test") == {f"test/{name}": value for name, value in named.items()}


def test_a_group_without_positives_is_absent_and_no_positive_at_all_an_error():
    scores, labels = random_case(4, classes=3)
    labels[:, 2] = 0
    result = score(scores, labels, ClassStatistics.from_counts([150, 50, 5], 400))
    assert set(result.groups) == {"head", "medium"}
    with pytest.raises(InputError, match="no class has a positive"):
        score(scores, labels * 0, ClassStatistics.from_counts([150, 50, 5], 400))


@pytest.mark.parametrize("cells", [1, 10**9])
def test_a_nan_score_names_its_image_and_class(cells, monkeypatch):
    monkeypatch.setattr(metrics, "CELLS_AT_ONCE", cells)
    scores, labels = random_case(6)
    scores[[123, 300], [4, 4]] = np.nan
    scores[7] = np.inf
    with pytest.raises(InputError, match="image 123, class 4 is NaN"):
        average_precision(scores, labels)


def of_known_images(scores, labels):
    known = [np.flatnonzero((column == 0) | (column == 1)) for column in labels.T]
    columns = [(labels[rows, c], scores[rows, c]) for c, rows in enumerate(known)]
    return [average_precision_score(*column) if (column[0] == 1).any() else np.nan for column in columns]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("form", [np.uint8, np.int8, np.float64])
@pytest.mark.parametrize("decimals", [0, 1, 17])
def test_images_of_which_a_class_is_unknown_do_not_count_for_it(seed, form, decimals):
    scores, labels = random_case(seed)
    hidden = np.random.default_rng(seed + 100).random(labels.shape) < 0.4
    hidden[:, 5], hidden[:, 6] = True, labels[:, 6] == 1  # nothing known; no positive known
    partly = np.where(hidden, 255 if form is np.uint8 else -1, labels.astype(int)).astype(form)
    scores = scores.astype(np.float64).round(decimals)
    found = average_precision(scores, partly)
    assert found == pytest.approx(of_known_images(scores, partly), abs=1e-12, nan_ok=True)
    assert np.isnan(found).tolist() == [False] * 5 + [True] * 2
    whatever = np.where(hidden, np.random.default_rng(9).choice([np.nan, np.inf, -np.inf, 0], scores.shape), scores)
    assert np.array_equal(average_precision(whatever, partly), found, equal_nan=True)
    result = score(scores, partly, ClassStatistics.from_counts([150, 150, 50, 50, 5, 5, 5], 400))
    assert result.excluded == (5, 6)
    assert result.total == pytest.approx(np.nanmean(found), abs=1e-12)


def test_a_positive_of_minus_infinity_ties_with_known_images_alone():
    scores, labels = np.full((4, 1), -np.inf), np.array([[1, 0, 255, 255]], np.uint8).T
    assert average_precision(scores, labels).tolist() == [0.5]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_scores_are_ranked_in_their_own_type(dtype):
    # Neighbours of the type, in either order, so that any narrower type would have ties.
    scores, one = np.empty((6, 1), dtype=dtype), dtype(1)
    for row, steps in enumerate((3, 5, 1, 2, 4, 0)):
        scores[row] = one + steps * np.spacing(one)
    labels = np.array([[0, 1, 1, 0, 1, 0]], np.uint8).T
    assert average_precision(scores, labels).tolist() == pytest.approx([(1 + 1 + 3 / 5) / 3], abs=1e-15)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, bool])
def test_whole_numbers_are_ranked_and_unknown_labels_left_out(dtype):
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 2 if dtype is bool else 9, (60, 3)).astype(dtype)
    labels = generator.choice([0, 1, UNKNOWN], (60, 3)).astype(np.uint8)
    known = labels != UNKNOWN
    truth = [average_precision_score(labels[k, c], scores[k, c]) for c, k in enumerate(known.T)]
    assert average_precision(scores, labels) == pytest.approx(truth, abs=1e-12)


@pytest.mark.parametrize("dtype", [object, "U3", complex])
def test_scores_that_are_no_numbers_are_refused(dtype):
    with pytest.raises(InputError, match="scores must be numbers; got"):
        average_precision(np.ones((3, 1)).astype(dtype), np.ones((3, 1), np.uint8))


@pytest.mark.parametrize("shape", [(400, 6), (399, 7), (400,)])
def test_shapes_that_differ_are_named(shape):
    scores, _ = random_case(6)
    with pytest.raises(InputError, match=r"\(400, 7\)"):
        average_precision(scores, np.zeros(shape, dtype=np.uint8))


# Whole numbers up to 50: their cubes are exact in float32, so that the transform is strictly increasing there too.
whole_scores = arrays(np.float32, (23, 3), elements=st.integers(-50, 50).map(float))
label_matrices = arrays(np.uint8, (23, 3), elements=st.integers(0, 1))


@settings(max_examples=60, deadline=None)
@given(scores=whole_scores, labels=label_matrices, order=st.permutations(range(23)))
def test_only_the_order_of_scores_counts(scores, labels, order):
    first = average_precision(scores, labels)
    assert first == pytest.approx(by_definition(scores, labels), abs=1e-12, nan_ok=True)
    assert average_precision(scores[order], labels[order]) == pytest.approx(first, abs=1e-12, nan_ok=True)
    assert np.array_equal(average_precision(scores**3, labels), first, equal_nan=True)
    assert np.array_equal(average_precision(2 * scores - 7, labels), first, equal_nan=True)
