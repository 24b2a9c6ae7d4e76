"""Two configurations beside each other: what differs in their settings, and in their results over shared seeds."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...benchmark.training.metrics import SCORE_NAMES
from ...errors import InputError, unknown_name
from ...terminal import short_id
from .bootstrap import Results, difference_over_images
from .rows import labelled
from .significance import paired_difference

# What an error lists of configurations, of their differing settings, and of one value.
LISTED, SHOWN_OF_VALUE = 4, 20


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Differences in percent points are second minus first.

    Attributes:
        first: finished runs of one configuration, in the order of seeds, as `load_runs` returns them.
        settings: by name, the values of both where they differ; "–" where one has no such setting.
        seeds: that both have.
        groups: one row per `SCORE_NAMES`: group, first and second (means over shared seeds), difference, low, high
            (95 % over seeds, Student's t; NaN for one seed), n, images_low, images_high (95 % over resampled test
            images; NaN without a bootstrap).
        classes: one row per class, largest first: class_name, group, class_size, and the columns first to n as above.
    """

    first: pd.DataFrame
    second: pd.DataFrame
    settings: Mapping[str, tuple[str, str]]
    seeds: tuple[int, ...]
    groups: pd.DataFrame
    classes: pd.DataFrame


def label_of(runs: pd.DataFrame) -> str:
    """What tables call a configuration that `find_configuration` returned."""
    return str(runs.row.iloc[0])


def find_configuration(runs: pd.DataFrame, name: str) -> pd.DataFrame:
    """Finished runs that a name stands for, in the order of seeds.

    A name is a table row's label (`DB (mu=0.2)`), a method (`db`: its row by the protocol, or the only configuration
    that there is), the beginning of a configuration id, or that of an experiment id or MLflow run id for a single run.

    Args:
        runs: as `load_runs` returns them.
        name: upper and lower case are the same.

    Raises:
        InputError: if there is none, or several.
    """
    wanted, runs = name.lower().strip(), labelled(runs)
    finished = runs[runs.state == "finished"]
    of_method = finished.title.str.lower().eq(wanted) | finished.method.eq(wanted)
    of_id = finished.experiment_id.str.startswith(wanted) | finished.run_id.str.startswith(wanted)
    by_row = finished.row.str.lower().eq(wanted), of_method & finished.standard, of_method
    for matches in (*by_row, finished.configuration_id.str.startswith(wanted), of_id):
        if wanted and matches.any():
            found = finished[matches]
            break
    else:
        unfinished = runs.experiment_id.str.startswith(wanted) | runs.run_id.str.startswith(wanted)
        if wanted and (runs.state != "finished")[unfinished].any():
            raise InputError(f"run {name!r} is not finished; `mltbench status` shows how far it is")
        raise unknown_name("run, configuration or table row", name, dict.fromkeys([*finished.method, *finished.row]))
    if found.configuration_id.nunique() > 1:
        raise InputError(f"{name!r} is {_listed(found)}; name one by its id, or narrow with --dataset or --recipe")
    if matches is of_id and len(found) > 1:
        raise InputError(
            f"{len(found)} runs begin with {name!r}: {', '.join(found.experiment_id)}; give more of the id"
        )
    return found.sort_values("seed")


def find_both(runs: pd.DataFrame, first: str, second: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What `find_configuration` finds for two names: on the one dataset that has both, if there is one."""
    found = []
    for own in (runs[runs.dataset == name] for name in runs.dataset.unique()):
        with suppress(InputError):
            found.append((find_configuration(own, first), find_configuration(own, second)))
    return found[0] if len(found) == 1 else (find_configuration(runs, first), find_configuration(runs, second))


def settings_of(run: Any) -> dict[str, str]:
    """Every setting of a run, by name, that its configuration's id depends on; the run is a row of `load_runs`."""
    # A frame that was made by hand may lack them.
    known = json.loads(run.settings) if isinstance(run.settings, str) else {}
    known |= {name: getattr(run, name) for name in ("dataset_digest", "numerics_version")}
    return {name: str(value) for name, value in known.items() if name != "seed"}


def differing(settings: Sequence[Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """The settings in which configurations differ, with the value of each; "–" where one has no such setting.

    >>> differing([{"method": "db", "mu": "0.3"}, {"method": "db", "mu": "0.2", "beta": "10"}])
    {'mu': ('0.3', '0.2'), 'beta': ('–', '10')}
    """
    names = dict.fromkeys(name for own in settings for name in own)
    values = {name: tuple(own.get(name, "–") for own in settings) for name in names}
    return {name: found for name, found in values.items() if len(set(found)) > 1}


def compare(
    first: pd.DataFrame,
    second: pd.DataFrame,
    per_class: pd.DataFrame,
    resampled: Mapping[str, Results],
) -> Comparison:
    """Compare two configurations over the seeds that both have.

    Args:
        first: as `find_configuration` returns it.
        second: the same.
        per_class: as `load_per_class` returns it, of the runs of both.
        resampled: as `bootstrap_runs` returns it; empty without a bootstrap.

    Raises:
        InputError: if they are the same, were not evaluated on the same images, or share no seed.
    """
    _require_pairs(first, second)
    seeds = sorted({*first.seed} & {*second.seed})
    one, other = (runs.set_index("seed").loc[seeds] for runs in (first, second))
    groups = [
        {"group": group, **_paired(one[group], other[group]), **_over_images(one, other, group, resampled)}
        for group in SCORE_NAMES
    ]
    tested = per_class[per_class.split == "test"]
    values = tested.set_index(["experiment_id", "class_name"]).ap
    classes = [
        {"class_name": item.class_name, "group": item.group, "class_size": item.class_size,
         **_paired(*([values.get((name, item.class_name), np.nan) for name in side.experiment_id]
                     for side in (one, other)))}
        for item in tested.drop_duplicates("class_name").itertuples()
    ]  # fmt: skip
    columns = ["class_name", "group", "class_size", *_paired([0.0], [0.0])]
    by_class = pd.DataFrame(classes, columns=columns)
    return Comparison(
        first=first,
        second=second,
        settings={
            name: (values[0], values[1])
            for name, values in differing([settings_of(runs.iloc[0]) for runs in (first, second)]).items()
        },
        seeds=tuple(map(int, seeds)),
        groups=pd.DataFrame(groups),
        classes=by_class.sort_values("class_size", ascending=False, kind="stable", ignore_index=True),
    )


def _require_pairs(first: pd.DataFrame, second: pd.DataFrame) -> None:
    one, other = first.iloc[0], second.iloc[0]
    if one.dataset != other.dataset:
        raise InputError(
            f"{label_of(first)} was trained on {one.dataset}, {label_of(second)} on {other.dataset}: their results are "
            "of other images and classes, and cannot be paired; name two on one dataset (--dataset)"
        )
    if one.dataset_digest != other.dataset_digest:
        raise InputError(
            f"{label_of(first)} and {label_of(second)} were trained on two versions of {one.dataset} (digests "
            f"{short_id(one.dataset_digest)} and {short_id(other.dataset_digest)}): their test images may differ, "
            "and results cannot be paired; train both on the version that is here"
        )
    seeds = [sorted(map(int, runs.seed)) for runs in (first, second)]
    if one.configuration_id == other.configuration_id and seeds[0] == seeds[1]:
        raise InputError(f"both names are {label_of(first)}, {_listed(first)}; name two configurations")
    if not {*seeds[0]} & {*seeds[1]}:
        lists = [", ".join(map(str, some)) for some in seeds]
        raise InputError(
            f"{label_of(first)} (seeds {lists[0]}) and {label_of(second)} (seeds {lists[1]}) share no seed, and "
            f"results are paired by seed; `{one.command}` with --seeds {lists[1]}, trains what is missing"
        )


def _paired(first: Any, second: Any) -> dict[str, float]:
    found = paired_difference(second, first)
    # The interval of one seed is infinite: nothing is known of it.
    low, high = (found.low, found.high) if found.n > 1 else (np.nan, np.nan)
    means = {"first": float(np.mean(first)), "second": float(np.mean(second))}
    return {**means, "difference": found.mean, "low": low, "high": high, "n": found.n}


def _over_images(
    first: pd.DataFrame, second: pd.DataFrame, group: str, resampled: Mapping[str, Results]
) -> dict[str, float]:
    pairs = zip(second.experiment_id, first.experiment_id, strict=True)
    low, high = difference_over_images(pairs, group, resampled) or (np.nan, np.nan)
    return {"images_low": low, "images_high": high}


def _listed(runs: pd.DataFrame) -> str:
    """Configurations with what differs between them, for an error."""
    each = runs.drop_duplicates("configuration_id")
    rows: list[Any] = list(each.itertuples())
    found = differing([{"dataset": run.dataset, **settings_of(run)} for run in rows])
    texts = []
    for i, run in enumerate(rows):
        values = [f"{name} {own[i][:SHOWN_OF_VALUE]}" for name, own in list(found.items())[:LISTED]]
        texts.append(f"{short_id(run.configuration_id)} ({', '.join(values) or f'recipe {run.recipe}'})")
    more = f" and {len(texts) - LISTED} more" if len(texts) > LISTED else ""
    noun = "configuration" if len(texts) == 1 else f"{len(texts)} configurations:"
    return f"{noun} {', '.join(texts[:LISTED])}{more}"
