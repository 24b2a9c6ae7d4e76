"""Bootstrap over test images: how much a result depends on which images happened to be in the test split.

Resampling copies of scores would sort them anew every time. Here each resample is a whole-number weight per image, and
one sorting of the scores serves all of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...benchmark.tracking.store import Store
from ...datasets.long_tail.statistics import UNKNOWN
from ...datasets.registry import load_dataset
from ...errors import InputError
from ...files import replacing, safe_file_name
from .runs import CACHE_FOLDER, local_artifact, read_arrays
from .significance import LEVEL

# Weights that are gathered at once: 4 MB, of 400 resamples of 2,500 images, say.
WEIGHTS_AT_ONCE = 1_000_000
# Results of one run on resampled test images: by group, `(resamples,)` in percent.
Results = dict[str, NDArray[np.float64]]


def bootstrap_runs(
    store: Store,
    runs: pd.DataFrame,
    per_class: pd.DataFrame,
    *,
    resamples: int,
    on_run: Callable[[], None] = lambda: None,
) -> dict[str, Results]:
    """Score every finished run on the same resampled test images, from its stored scores: results by experiment id.

    Runs without stored scores are left out. Results are kept under the results root, and computed once.

    Args:
        store: that the runs are in.
        runs: as `load_runs` returns them.
        per_class: as `load_per_class` returns it, for the groups of the classes.
        resamples: how many.
        on_run: called after each run.
    """
    groups = dict(per_class.drop_duplicates(["dataset", "class_name"]).set_index(["dataset", "class_name"]).group)
    found = {}
    for run in runs[runs.state == "finished"].itertuples():
        results = _resampled(store, run, groups, resamples)
        if results is not None:
            found[str(run.experiment_id)] = results
        on_run()
    return found


def resample_weights(images: int, resamples: int, *, seed: int = 0) -> NDArray[np.int32]:
    """How often each image is drawn: `(resamples, images)`, every row sums to `images`.

    The same arguments give the same weights, so that all methods are scored on the same resamples (paired).
    """
    generator = np.random.RandomState(seed)
    drawn = [generator.randint(0, images, size=images) for _ in range(resamples)]
    return np.stack([np.bincount(indices, minlength=images) for indices in drawn]).astype(np.int32)


def weighted_average_precision(
    scores: NDArray[np.floating], labels: NDArray[np.uint8], weights: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Average precision of each class under each row of weights.

    AP = sum over positives k of w_k P(k) / sum of w_k, with P(k) the weighted precision among all images that score at
    least as high: what scikit-learn gives for a sample that holds image i `weights[i]` times. Images of which a class
    is unknown do not count for it.

    Args:
        scores: `(N, C)`, ranked in their own type.
        labels: `(N, C)` of 0, 1 and 255, unknown.
        weights: `(B, N)`, not negative.

    Returns:
        `(B, C)` in 0..1; NaN where no positive of the class was drawn.

    Raises:
        InputError: if a score is NaN.
    """
    if np.isnan(scores).any():
        row, column = np.argwhere(np.isnan(scores))[0].tolist()
        raise InputError(f"the score of image {row}, class {column} is NaN: it has no rank; train the run again")
    by_image = np.ascontiguousarray(weights.T)
    columns = [_one_class(scores[:, c], labels[:, c], by_image) for c in range(scores.shape[1])]
    return np.stack(columns, axis=1)


def group_means(per_class: NDArray[np.float64], groups: Sequence[str]) -> Results:
    """Mean of `per_class` AP `(B, C)` in 0..1 over all classes and over each group, NaN left out: `(B,)` in percent."""
    masks = {"total": np.ones(len(groups), dtype=bool)}
    masks |= {group: np.array([name == group for name in groups]) for group in dict.fromkeys(groups)}
    present = ~np.isnan(per_class)
    with np.errstate(invalid="ignore"):
        return {
            name: 100 * np.where(present, per_class, 0)[:, mask].sum(axis=1) / present[:, mask].sum(axis=1)
            for name, mask in masks.items()
        }


def percentile_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Ends of the interval that holds the middle 95 % of the resamples; NaN ones are left out."""
    low, high = np.nanpercentile(values, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def difference_over_images(
    pairs: Iterable[tuple[str, str]], group: str, resampled: Mapping[str, Results]
) -> tuple[float, float] | None:
    """Ends of the 95 % interval of a mean difference over resampled images, first minus second.

    `pairs` are the experiment ids of two runs with one seed. Pairs are averaged in each resample; those without results
    of the group in `resampled`, which is what `bootstrap_runs` returns, are left out. None where that leaves nothing.
    """
    sides = ((resampled.get(one, {}), resampled.get(other, {})) for one, other in pairs)
    differences = [one[group] - other[group] for one, other in sides if group in one and group in other]
    return percentile_interval(np.mean(differences, axis=0)) if differences else None


def _resampled(store: Store, run: Any, groups: Mapping[Any, str], resamples: int) -> Results | None:
    kept = store.root / CACHE_FOLDER / "bootstrap" / safe_file_name(f"{run.experiment_id}-{resamples}.npz")
    if kept.is_file():
        # A damaged file only costs the time to score again.
        with suppress(InputError):
            return read_arrays(kept)
    path = local_artifact(store, run, "test_scores.npz")
    if path is None:
        return None
    stored = read_arrays(path)
    scores, ids, classes = stored["scores"], stored["ids"], stored["classes"]
    labels = stored["labels"] if "labels" in stored else _labels_of_dataset(run, ids)
    weights = resample_weights(len(scores), resamples)
    names = [str(groups.get((run.dataset, str(name)), "")) for name in classes]
    results = group_means(weighted_average_precision(scores, labels, weights), names)
    # Only saves time: a results folder that cannot be written still gives its numbers.
    with suppress(OSError), replacing(kept) as file:
        np.savez(file, **results)  # type: ignore[arg-type]
    return results


def _labels_of_dataset(run: Any, ids: NDArray[np.str_]) -> NDArray[np.uint8]:
    """Test labels for older runs, which do not store them with the scores."""
    test = load_dataset(str(run.dataset)).split("test")
    if not np.array_equal(test.ids, ids):
        raise InputError(
            f"experiment {run.experiment_id} scored other test images than {run.dataset} has here; prepare the dataset "
            "that it was trained on, or leave out --bootstrap"
        )
    return test.labels


def _one_class(
    scores: NDArray[np.floating], labels: NDArray[np.uint8], by_image: NDArray[np.int32]
) -> NDArray[np.float64]:
    order = np.argsort(-scores, kind="stable")
    order = order[labels[order] != UNKNOWN]
    ordered, hits = scores[order], np.flatnonzero(labels[order] == 1)
    resamples = by_image.shape[1]
    if not len(hits):
        return np.full(resamples, np.nan)
    # Every image of a tie has the precision at the tie's last rank.
    last_of_tie = np.searchsorted(-ordered, -ordered[hits], side="right") - 1
    hits_above = np.searchsorted(hits, last_of_tie, side="right") - 1
    # Only ranks at which a positive's tie ends matter: weights are summed between them.
    ends, place = np.unique(last_of_tie, return_inverse=True)
    starts = np.concatenate([[0], ends[:-1] + 1])
    parts = []
    step = max(1, WEIGHTS_AT_ONCE // len(scores))
    for i in range(0, resamples, step):
        drawn = by_image[order[: ends[-1] + 1], i : i + step]
        taken = np.add.reduceat(drawn, starts, axis=0).cumsum(axis=0, dtype=np.float64)[place]
        of_hits = drawn[hits].astype(np.float64)
        true, total = of_hits.cumsum(axis=0)[hits_above], of_hits.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            terms = np.where(of_hits > 0, of_hits * true / taken, 0.0)
            parts.append(np.where(total > 0, terms.sum(axis=0) / total, np.nan))
    return np.concatenate(parts)
