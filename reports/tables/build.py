"""Building a table of the paper from runs: means over seeds, the best, and the paired differences between its rows."""

import json
import math
import shlex
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ...benchmark.training.metrics import SCORE_NAMES
from ...datasets.registry import get_dataset_entry
from ...errors import InputError
from ...methods.catalogue import TABLES, get_method
from ..results.bootstrap import Results, percentile_interval
from ..results.quoted import QuotedRow, quoted_datasets, quoted_rows
from ..results.significance import class_weighted_total, paired_difference, pairwise_differences
from .result_table import DECIMALS, Cell, ResultTable, Row
from .summary import number_of

# Stored totals are means of the same doubles as the groups; anything larger is another number.
TOTAL_TOLERANCE = 1e-6
# What a note shows of a digest, and how many differences between configurations it lists.
SHOWN_OF_VALUE = 20
SHOWN_DIFFERENCES = 4
PAIR_COLUMNS = ("dataset", "table", "group", "first", "second", "difference", "low", "high", "n", "p", "p_holm",
                "images_low", "images_high")  # fmt: skip


def build_table(
    runs: pd.DataFrame,
    number: int,
    dataset: str,
    *,
    recipe: str | None = None,
    per_class: pd.DataFrame | None = None,
    quoted: Sequence[QuotedRow] = (),
) -> ResultTable:
    """Build a table of the paper from runs.

    Args:
        runs: as `load_runs` returns them.
        number: 1 or 2.
        dataset: name of the dataset.
        recipe: only runs of this recipe; None takes the dataset's own.
        per_class: as `load_per_class` returns them; totals are then checked against their groups.
        quoted: published rows besides the paper's, as `read_quoted` returns them.
    """
    wanted = recipe or usual_recipe(runs, dataset)
    of_methods = _runs_of_methods(runs, number, dataset)
    own = of_methods[of_methods.recipe == wanted]
    plain = own[own.overrides == ""]
    further = [str(name) for name in plain.method.unique() if name not in TABLES[number]]
    seeds = sorted(own[own.state == "finished"].seed.unique().tolist())
    rows = []
    for name in [*TABLES[number], *further]:
        # A user-defined method is known from its runs alone; the paper's are known without any.
        rows += _rows(plain[plain.method == name], seeds) or [_row(plain[:0], get_method(name).title, name, seeds)]
    rows += _rows(own[own.overrides != ""], seeds)
    empty = []
    measured = [row for row in rows if row.seeds or row.failed]
    if measured and all(row.overrides for row in measured):
        # The paper's rows would be a block of dashes.
        rows, empty = measured, ["No method was run without overrides; rows without any run are left out."]
    published = [row for row in (*quoted_rows(), *quoted) if (row.table, row.dataset) == (number, dataset)]
    suspects = [row.note for row in published if row.suspect]
    return ResultTable(
        number=number,
        dataset=dataset,
        rows=tuple(_compare(rows, own)),
        quoted=tuple(published),
        notes=(*suspects, *empty, *_configuration_notes(rows, own), *_doubtful_totals(rows, own, per_class)),
        left_out=_left_out(of_methods, wanted),
    )


def usual_recipe(runs: pd.DataFrame, dataset: str) -> str:
    """The dataset's own recipe; of an imported dataset that is not on this machine, the one that most runs have."""
    if dataset in quoted_datasets():
        return "paper"
    try:
        return get_dataset_entry(dataset).recipe
    except InputError:
        return str(runs[runs.dataset == dataset].recipe.mode().iloc[0])


def results_by_seed(rows: Sequence[Row], runs: pd.DataFrame, name: str) -> pd.DataFrame:
    """One of `SCORE_NAMES` in percent: one line per row with runs (by its label), one column per seed, NaN for none."""
    by_experiment = dict(zip(runs.experiment_id, runs[name], strict=True))
    lines = {
        row.label: {seed: by_experiment[one] for seed, one in zip(row.seeds, row.experiments, strict=True)}
        for row in rows
        if row.seeds
    }
    frame = pd.DataFrame.from_dict(lines, orient="index")
    return frame.reindex(sorted(frame.columns), axis=1)


def pairs_frame(table: ResultTable, runs: pd.DataFrame, resampled: Mapping[str, Results] | None = None) -> pd.DataFrame:
    """Paired differences, first minus second, of every two measured rows of a table, for every group.

    `low` and `high` bound the mean difference over shared seeds (95 %, Student's t); `p` is of the paired t-test,
    `p_holm` corrected for all pairs of the group; `images_low` and `images_high` bound the difference over resampled
    test images (95 % percentiles), the shared seeds averaged in each resample; NaN without a bootstrap. `runs` are
    those that the table was built from, `resampled` is what `bootstrap_runs` returns.
    """
    by_label = {row.label: row for row in table.rows}
    parts = []
    for group in SCORE_NAMES:
        pairs = pairwise_differences(results_by_seed(table.rows, runs, group))
        over_images = [
            _over_images(by_label[first], by_label[second], group, resampled or {})
            for first, second in zip(pairs["first"], pairs["second"], strict=True)
        ]
        low, high = np.array(over_images).reshape(-1, 2).T
        images = {"images_low": low, "images_high": high}
        parts.append(pairs.assign(dataset=table.dataset, table=table.number, group=group, **images))
    return pd.concat(parts, ignore_index=True)[list(PAIR_COLUMNS)]


def left_out_of_figures(runs: pd.DataFrame, dataset: str, drawn: pd.DataFrame) -> tuple[str, ...]:
    """How many finished runs of a dataset, as `load_runs` returns them, are not among those drawn in figures."""
    number = int(((runs.dataset == dataset) & (runs.state == "finished")).sum()) - len(drawn)
    shown = "one recipe, and of each method the configuration without overrides that has the most seeds"
    return (f"{_runs_are(number)} not in the figures of results: these show {shown}.",) if number else ()


def _left_out(runs: pd.DataFrame, recipe: str) -> tuple[str, ...]:
    """Sentences on the runs that a table of one recipe leaves out; its rows count the failed ones."""
    others = runs[(runs.recipe != recipe) & (runs.state == "finished")].recipe.value_counts().sort_index()
    unfinished = runs[(runs.recipe == recipe) & ~runs.state.isin(["finished", "failed"])]
    sentences = [
        f"{_runs_are(number, f' of recipe {name}')} not in this table: --recipe {shlex.quote(str(name))}"
        for name, number in others.items()
    ]
    if len(unfinished):
        sentences.append(f"{_runs_are(len(unfinished))} not finished, and not in this table: mltbench status")
    return tuple(sentences)


def _runs_are(number: int, which: str = "") -> str:
    return f"{number_of(number, 'run')}{which} {'is' if number == 1 else 'are'}"


def _runs_of_methods(runs: pd.DataFrame, number: int, dataset: str) -> pd.DataFrame:
    own = runs[runs.dataset == dataset]
    elsewhere = {name for table in TABLES.values() for name in table if name not in TABLES[number]}
    return own[own.method.isin(TABLES[number]) if number != 1 else ~own.method.isin(elsewhere)]


def _rows(runs: pd.DataFrame, seeds: Sequence[int]) -> list[Row]:
    """One row per configuration; its id is added where several have one label (another precision, another version)."""
    groups = list(runs.groupby(["overrides", "configuration_id"], sort=False))
    labels = [f"{group.title.iloc[0]}{f' ({overrides})' * bool(overrides)}" for (overrides, _), group in groups]
    rows = []
    for label, ((_, configuration), group) in zip(labels, groups, strict=True):
        unique = label if labels.count(label) == 1 else f"{label} [{str(configuration)[:6]}]"
        rows.append(_row(group, unique, str(group.method.iloc[0]), seeds))
    return rows


def _row(runs: pd.DataFrame, label: str, method: str, seeds: Sequence[int]) -> Row:
    finished = runs[runs.state == "finished"].sort_values("seed")
    cells = {}
    for name in SCORE_NAMES:
        values = finished[name].dropna()
        cells[name] = Cell(
            mean=float(values.mean()) if len(values) else None,
            deviation=float(values.std(ddof=1)) if len(values) > 1 else None,
            n=len(values),
        )
    have = tuple(int(seed) for seed in finished.seed)
    return Row(
        label=label,
        method=method,
        cells=cells,
        seeds=have,
        missing=tuple(seed for seed in seeds if seed not in have),
        failed=int((runs.state == "failed").sum()),
        experiments=tuple(finished.experiment_id),
        configuration="" if runs.empty else str(runs.configuration_id.iloc[0]),
        overrides="" if runs.empty else str(runs.overrides.iloc[0]),
    )


def _compare(rows: Sequence[Row], runs: pd.DataFrame) -> list[Row]:
    """The rows with the best of each column, and every other compared with it over their shared seeds."""
    compared = [dict(row.cells) for row in rows]
    for name in SCORE_NAMES:
        means = [-math.inf if c[name].mean is None else round(float(c[name].mean or 0), DECIMALS) for c in compared]
        if max(means) == -math.inf:
            continue
        values = results_by_seed(rows, runs, name)
        champion = values.loc[rows[means.index(max(means))].label].to_numpy()
        for row, cells, mean in zip(rows, compared, means, strict=True):
            if mean == max(means):
                cells[name] = replace(cells[name], best=True)
            elif mean > -math.inf:
                other = values.loc[row.label].to_numpy()
                shared = ~np.isnan(champion - other)
                behind = paired_difference(champion[shared], other[shared]) if shared.any() else None
                cells[name] = replace(cells[name], behind=behind)
    return [replace(row, cells=cells) for row, cells in zip(rows, compared, strict=True)]


def _configuration_notes(rows: Sequence[Row], runs: pd.DataFrame) -> list[str]:
    """One note per method that has several rows with the same overrides: what its configurations differ in."""
    alike: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.configuration:
            alike.setdefault((row.method, row.overrides), []).append(row)
    columns = ["configuration_id", "settings", "dataset_digest", "numerics_version"]
    first = runs[columns].drop_duplicates("configuration_id").set_index("configuration_id").to_dict("index")
    return [
        _difference_note({row.label: _settings(first[row.configuration]) for row in several})
        for several in alike.values()
        if len(several) > 1
    ]


def _settings(run: Mapping[Hashable, Any]) -> dict[str, str]:
    # A frame that was made by hand may lack them.
    known = json.loads(run["settings"]) if isinstance(run["settings"], str) else {}
    known |= {name: run[name] for name in ("dataset_digest", "numerics_version")}
    return {name: str(value) for name, value in known.items() if name != "seed"}


def _difference_note(settings: Mapping[str, Mapping[str, str]]) -> str:
    names = sorted({name for own in settings.values() for name in own})
    differing = [name for name in names if len({own.get(name) for own in settings.values()}) > 1]
    if not differing:
        return f"{'; '.join(settings)}: their runs name no difference; `mltbench runs show ID` prints them."
    more = len(differing) - SHOWN_DIFFERENCES
    texts = []
    for label, own in settings.items():
        values = [f"{name} {own.get(name, '–')[:SHOWN_OF_VALUE]}" for name in differing[:SHOWN_DIFFERENCES]]
        texts.append(f"{label} has {', '.join(values)}")
    return "; ".join(texts) + (f"; and {more} more differences." if more > 0 else ".")


def _doubtful_totals(rows: Sequence[Row], runs: pd.DataFrame, per_class: pd.DataFrame | None) -> list[str]:
    """Experiments whose stored total is not the class-weighted mean of their stored groups."""
    if per_class is None:
        return []
    counted = per_class[(per_class.split == "test") & per_class.ap.notna() & (per_class.group != "")]
    sizes: dict[Any, int] = counted.groupby(["experiment_id", "group"]).size().to_dict()
    known = {experiment for experiment, _ in sizes}
    results = runs.set_index("experiment_id")[list(SCORE_NAMES)].to_dict("index")
    doubtful = []
    for label, name in ((row.label, name) for row in rows for name in row.experiments if name in known):
        total, *groups = (float(results[name][score]) for score in SCORE_NAMES)
        mean = class_weighted_total(groups, [sizes.get((name, group), 0) for group in SCORE_NAMES[1:]])
        if not abs(mean - total) <= TOTAL_TOLERANCE:
            doubtful.append(
                f"{label}, experiment {name}: the stored total {total:.4f} is not the class-weighted mean "
                f"of its groups ({mean:.4f}); was the store edited?"
            )
    return doubtful


def _over_images(first: Row, second: Row, group: str, resampled: Mapping[str, Results]) -> tuple[float, float]:
    one, other = (
        {
            seed: resampled[name][group]
            for seed, name in zip(row.seeds, row.experiments, strict=True)
            if group in resampled.get(name, {})
        }
        for row in (first, second)
    )
    differences = [one[seed] - other[seed] for seed in one if seed in other]
    return percentile_interval(np.mean(differences, axis=0)) if differences else (float("nan"), float("nan"))
