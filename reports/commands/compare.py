"""`mltbench compare`."""

import json
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from rich import box

from ...benchmark.commands.options import StoreOptions
from ...benchmark.tracking.store import require_results
from ...datasets.commands.options import NotNegative
from ...terminal import Json, console, print_json, print_line, progress_bars, short_id, table_of
from ..figures.class_differences import draw_class_differences
from ..figures.registry import write_data, write_figure
from ..results.bootstrap import bootstrap_runs
from ..results.comparison import Comparison, find_both, label_of
from ..results.comparison import compare as compare_configurations
from ..results.runs import per_class_frame, runs_frame
from ..results.significance import LEVEL
from ..tables.summary import number_of

# Classes that are printed, of those that gain and of those that lose.
SHOWN_CLASSES = 5
# Characters of a setting's value: a digest is known by its beginning.
SHOWN_OF_VALUE = 24
NUMBERS = ("A", "B", "B - A", "95 % over seeds")


def compare(
    first: str,
    second: str,
    /,
    *,
    dataset: str | None = None,
    recipe: str | None = None,
    bootstrap: Annotated[int, NotNegative] = 1000,
    to: Path | None = None,
    as_json: Json = False,
    store: StoreOptions = StoreOptions(),
) -> None:
    """Compare two runs, configurations or table rows: settings that differ, and paired differences by group and class.

    Differences are B minus A, over the seeds that both have.

    For example:

        mltbench compare rs db
        mltbench compare "DB" "DB (mu=0.2)" --to db-mu
        mltbench compare 3f2a91c0 77b0e4d1 --json

    Args:
        first: A: a method (db), a row's label, or a configuration, experiment or MLflow run id (a beginning will do).
        second: B: the same.
        dataset: Only runs on this dataset.
        recipe: Only runs of this recipe.
        bootstrap: Resample the test images so often, for intervals over images; 0 is not at all.
        to: Folder for the numbers as CSV, every class among them, and a figure.
    """
    require_results(store.root, store.tracking_uri)
    opened = store.open(create=False)
    with console().status("reading runs"):
        runs = runs_frame(opened)
        kept = (runs.dataset == (dataset or runs.dataset)) & (runs.recipe == (recipe or runs.recipe))
        one, other = find_both(runs[kept], first, second)
        both = pd.concat([one, other])
        per_class = per_class_frame(opened, both)
    # Before a bootstrap of minutes, what makes it useless.
    found = compare_configurations(one, other, per_class, {})
    if bootstrap:
        shared = both[both.seed.isin(found.seeds)]
        with progress_bars() as advance:
            on_run = partial(advance, "bootstrap over test images", 1, len(shared))
            resampled = bootstrap_runs(opened, shared, per_class, resamples=bootstrap, on_run=on_run)
        found = compare_configurations(one, other, per_class, resampled)
    if to is not None:
        write_data(found.groups, to / "compare.csv")
        write_data(found.classes, to / "compare-classes.csv")
        if not found.classes.empty:
            labels = {"first": label_of(one), "second": label_of(other)}
            write_figure(draw_class_differences(found.classes, **labels), to / "compare-classes")
    if as_json:
        print_json(_as_json(found))
        return
    _print(found)
    if to is not None:
        print_line(f"written: {to}: compare.csv, compare-classes.csv, and compare-classes as .svg, .pdf and .png")
    else:
        print_line("--to FOLDER writes all classes as CSV, and a figure of them.")


def _print(found: Comparison) -> None:
    for letter, runs in (("A", found.first), ("B", found.second)):
        run, seeds = runs.iloc[0], " ".join(map(str, runs.seed))
        print_line(f"{letter}: {label_of(runs)}, configuration {short_id(run.configuration_id)}")
        print_line(f"   {run.dataset}, recipe {run.recipe}, {run.backbone}, seed{'s'[: len(runs) > 1]} {seeds}")
    console().print()
    if found.settings:
        settings = [(name, *(value[:SHOWN_OF_VALUE] for value in pair)) for name, pair in found.settings.items()]
        _show("Settings that differ", ("setting", "A", "B"), settings)
    else:
        print_line("Their runs name no setting that differs.")
    images = not found.groups.images_low.isna().all()
    rows = [
        (row.group, row.first, row.second, f"{row.difference:+.2f}", _interval(row.low, row.high),
         *[_interval(row.images_low, row.images_high)] * images)
        for row in _rows(found.groups)
    ]  # fmt: skip
    seeds = number_of(len(found.seeds), "shared seed")
    _show(f"mAP in percent, {seeds}", ("classes", *NUMBERS, *["over test images"] * images), rows)
    print_line(f"{_verdict(found.groups.iloc[0])}\n")
    known = found.classes.dropna(subset=["difference"]).sort_values("difference", kind="stable")
    better, worse = known[known.difference > 0][::-1], known[known.difference < 0]
    for title, some in (
        ("Classes that gain most", better[:SHOWN_CLASSES]),
        ("Classes that lose most", worse[:SHOWN_CLASSES]),
    ):
        rows = [
            (row.class_name, row.group, row.class_size, row.first, row.second, f"{row.difference:+.2f}",
             _interval(row.low, row.high))
            for row in _rows(some)
        ]  # fmt: skip
        if rows:
            _show(title, ("class", "group", "images", *NUMBERS), rows)
    if len(found.seeds) > 1 and len(known):
        clear = int(((known.low > 0) | (known.high < 0)).sum())
        print_line(
            f"{len(better)} of {len(known)} classes gain, {len(worse)} lose; {clear} intervals leave out zero, of "
            f"which about {(1 - LEVEL) * len(known):.0f} would by chance."
        )


def _rows(frame: pd.DataFrame) -> Iterable[Any]:
    return frame.itertuples()


def _verdict(total: Any) -> str:
    """What the total says, in a sentence."""
    distance = f"{abs(total.difference):.2f} points {'ahead' if total.difference >= 0 else 'behind'}"
    if total.n == 1:
        return f"B is {distance} in total on one shared seed; how much seeds vary is unknown: --seeds 3 or more."
    if total.low <= 0 <= total.high:
        return f"Not told apart in total: B is {distance}, {total.n} seeds."
    return f"B is {distance} in total, {total.n} seeds."


def _interval(low: float, high: float) -> str:
    return "–" if np.isnan(low) else f"[{low:+.2f}, {high:+.2f}]"


def _show(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    numbers = (*NUMBERS, "over test images", "images") if "setting" not in heads else ()
    console().print(table_of(heads, rows, numbers=numbers, title=title, box=box.SIMPLE_HEAD, show_edge=False))
    console().print()


def _as_json(found: Comparison) -> dict[str, Any]:
    sides = {
        letter: {
            "label": label_of(runs),
            **{name: str(runs.iloc[0][name]) for name in ("configuration_id", "dataset", "recipe", "backbone")},
            "experiments": dict(zip(map(str, runs.seed), runs.experiment_id, strict=True)),
        }
        for letter, runs in (("A", found.first), ("B", found.second))
    }
    return {
        **sides,
        "settings": {name: list(values) for name, values in found.settings.items()},
        "shared_seeds": list(found.seeds),
        # NaN is no JSON.
        **{name: json.loads(frame.to_json(orient="records")) for name, frame in
           (("groups", found.groups), ("classes", found.classes))},
    }  # fmt: skip
