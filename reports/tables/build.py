"""Building a table of the paper from runs: means over seeds, the best, and the paired differences between its rows."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ...benchmark.training.metrics import SCORE_NAMES
from ...methods.catalogue import BLOCKS, TABLES, block_of, get_method, list_methods
from ..results.bootstrap import Results, difference_over_images
from ..results.comparison import SHOWN_OF_VALUE, differing, settings_of
from ..results.quoted import QuotedRow, quoted_rows
from ..results.rows import expected_seeds, method_order, own_label, select_runs, shared_seeds
from ..results.significance import class_weighted_total, paired_difference, pairwise_differences
from .result_table import DECIMALS, Cell, ResultTable, Row

# Stored totals are means of the same doubles as the groups; anything larger is another number.
TOTAL_TOLERANCE = 1e-6
# Differences between configurations that a note lists.
SHOWN_DIFFERENCES = 4
PAIR_COLUMNS = ("dataset", "table", "group", "first", "second", "difference", "low", "high", "n", "p", "p_holm",
                "images_low", "images_high")  # fmt: skip


def build_table(
    runs: pd.DataFrame,
    number: int,
    dataset: str,
    *,
    recipe: str | None = None,
    methods: Sequence[str] = (),
    without: Sequence[str] = (),
    per_class: pd.DataFrame | None = None,
    quoted: Sequence[QuotedRow] = (),
    resampled: Mapping[str, Results] | None = None,
) -> ResultTable:
    """Build a table from runs: one of the paper's, or that of methods since 2020.

    Its rows are the paper's methods by one protocol, and those that `methods` names; other methods, overridden ones and
    other versions follow as rows that compete with nobody.

    Args:
        runs: as `load_runs` returns them.
        number: that of the table, see `TABLES`.
        dataset: name of the dataset.
        recipe: of the runs; None takes the dataset's own if it has runs, else the one that most runs have.
        methods: only these, names of methods or labels of rows; all of them compete.
        without: all but these.
        per_class: as `load_per_class` returns them; totals are then checked against their groups.
        quoted: published rows besides the paper's, as `read_quoted` returns them.
        resampled: what `bootstrap_runs` returns, for intervals over images.

    Raises:
        InputError: if no run has a named method or row.
    """
    selection = select_runs(runs, dataset, recipe=recipe, methods=methods, without=without)
    own = runs_of_table(selection.runs, number)
    named = own.method.isin(TABLES[number]) | own.method.isin(methods) | own.row.isin(methods)
    main, rest = own[own.standard & named], own[~(own.standard & named)]
    expected = expected_seeds(set(of_row.seed) for _, of_row in main[main.state == "finished"].groupby("row"))
    rows = [_row(of_row, sorted(expected), number) for of_row in _by_row(main, TABLES[number])]
    further = [_row(of_row, ()) for of_row in _by_row(rest, ())]
    seeds = shared_seeds(row.seeds for row in rows)
    rows, further = _compare(rows, further, seeds, own, resampled or {})
    published = [row for row in (*quoted_rows(), *quoted) if (row.table, row.dataset) == (number, dataset)]
    if methods or without:
        left = {method.title for method in list_methods()} - {row.label for row in rows}
        published = [row for row in published if row.title not in left]
    suspects = [row.note for row in published if row.suspect]
    there = {row.method for row in rows}
    notes = (*_configuration_notes([*rows, *further], own), *_doubtful_totals([*rows, *further], own, per_class))
    return ResultTable(
        number=number,
        dataset=dataset,
        protocol=selection.protocol,
        rows=tuple(rows),
        further=tuple(further),
        seeds=tuple(sorted(seeds)),
        absent=() if methods or without else tuple(get_method(m).title for m in TABLES[number] if m not in there),
        quoted=tuple(published),
        notes=(*suspects, *notes),
        left_out=selection.left_out,
    )


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
    by_label = {row.label: row for row in table.every_row}
    parts = []
    for group in SCORE_NAMES:
        pairs = pairwise_differences(results_by_seed(table.every_row, runs, group))
        over_images = [
            _over_images(by_label[first], by_label[second], group, resampled or {}) or (math.nan, math.nan)
            for first, second in zip(pairs["first"], pairs["second"], strict=True)
        ]
        low, high = np.array(over_images).reshape(-1, 2).T
        images = {"images_low": low, "images_high": high}
        parts.append(pairs.assign(dataset=table.dataset, table=table.number, group=group, **images))
    return pd.concat(parts, ignore_index=True)[list(PAIR_COLUMNS)]


def classes_frame(table: ResultTable, per_class: pd.DataFrame) -> pd.DataFrame:
    """Average precision of each class on the test split, in percent, mean over seeds: one line per class.

    Columns: class_name, group, class_size (training images), and one per measured row by its label; largest class
    first. `per_class` is what `load_per_class` returns.
    """
    labels = {name: row.label for row in table.every_row for name in row.experiments}
    own = per_class[(per_class.split == "test") & per_class.experiment_id.isin(list(labels))]
    keys = ["class_name", "group", "class_size"]
    if own.empty:
        return pd.DataFrame(columns=keys)
    means = own.assign(row=own.experiment_id.map(labels)).pivot_table("ap", keys, "row", dropna=False, observed=True)
    means = means.dropna(how="all").reindex(columns=list(dict.fromkeys(labels.values())))
    frame = means.reset_index().sort_values(["class_size", "class_name"], ascending=[False, True], ignore_index=True)
    return frame.rename_axis(columns=None)


def runs_of_table(runs: pd.DataFrame, number: int) -> pd.DataFrame:
    """Runs of the table's methods; methods of no table belong to Table 1."""
    elsewhere = {name for table in TABLES.values() for name in table if name not in TABLES[number]}
    return runs[runs.method.isin(TABLES[number]) if number != 1 else ~runs.method.isin(elsewhere)]


def repeats(table: ResultTable) -> bool:
    """Whether a table that is not the paper's shows but its anchors, which stand in one before it."""
    before = {name for number, names in TABLES.items() if number < table.number for name in names}
    own = any(row.method not in before for row in table.every_row)
    return table.number in BLOCKS and not (own or table.quoted)


def _by_row(runs: pd.DataFrame, order: Sequence[str]) -> list[pd.DataFrame]:
    """The runs of each row, in this order of methods, then the catalogue's; a method's own row comes first."""
    methods = [*order, *method_order(runs.method)]
    groups = [
        of_row for _, of_row in runs.groupby("row", sort=False) if (of_row.state.isin(["finished", "failed"])).any()
    ]
    return sorted(groups, key=lambda g: (methods.index(g.method.iloc[0]), not g.standard.iloc[0], g.row.iloc[0]))


def _row(runs: pd.DataFrame, expected: Sequence[int], table: int | None = None) -> Row:
    finished = runs[runs.state == "finished"].drop_duplicates("seed", keep="last").sort_values("seed")
    cells = {}
    for name in SCORE_NAMES:
        values = finished[name].dropna()
        cells[name] = Cell(
            mean=float(values.mean()) if len(values) else None,
            deviation=float(values.std(ddof=1)) if len(values) > 1 else None,
            n=len(values),
        )
    have = tuple(int(seed) for seed in finished.seed)
    first = runs.iloc[0]
    return Row(
        label=str(first.row),
        method=str(first.method),
        cells=cells,
        seeds=have,
        missing=tuple(seed for seed in expected if seed not in have),
        failed=int((runs.state == "failed").sum()),
        experiments=tuple(finished.experiment_id),
        configuration=str(first.configuration_id),
        overrides=str(first.overrides),
        block="" if table is None else block_of(table, str(first.method)),
    )


def _compare(
    rows: Sequence[Row],
    further: Sequence[Row],
    seeds: frozenset[int],
    runs: pd.DataFrame,
    resampled: Mapping[str, Results],
) -> tuple[list[Row], list[Row]]:
    """The rows with the best of each column, and every other compared with it.

    Rows that have all of `seeds` compete, on these alone; the others are compared with the best over the seeds that
    both have.
    """
    every = [*rows, *further]
    rivals = [row for row in rows if seeds and seeds <= set(row.seeds)]
    compared = [dict(row.cells) for row in every]
    for name in SCORE_NAMES if rivals else ():
        values = results_by_seed(every, runs, name)
        means = values.loc[[row.label for row in rivals], sorted(seeds)].mean(axis=1).round(DECIMALS)
        if means.isna().all():
            continue
        best = set(means[means == means.max()].index)
        champion = next(row for row in rivals if row.label in best)
        for row, cells in zip(every, compared, strict=True):
            competes = row in rivals
            if row.label in best:
                cells[name] = replace(cells[name], best=True, competes=True)
            elif cells[name].mean is not None:
                shared = seeds if competes else set(row.seeds)
                over_seeds = values.loc[[champion.label, row.label], sorted(shared & set(champion.seeds))].dropna(
                    axis=1
                )
                found = paired_difference(*over_seeds.to_numpy()) if over_seeds.shape[1] else None
                images = _over_images(champion, row, name, resampled, shared)
                cells[name] = replace(cells[name], behind=found, images=images, competes=competes)
    done = [replace(row, cells=cells) for row, cells in zip(every, compared, strict=True)]
    return done[: len(rows)], done[len(rows) :]


def _configuration_notes(rows: Sequence[Row], runs: pd.DataFrame) -> list[str]:
    """One note for rows that only their configurations' ids distinguish: what these differ in."""
    alike: dict[str, list[Row]] = {}
    for row in rows:
        name = row.label.rpartition(" [")[0]
        if row.label == own_label(name, row.configuration):
            alike.setdefault(name, []).append(row)
    first: dict[Any, Any] = {run.configuration_id: run for run in runs.drop_duplicates("configuration_id").itertuples()}
    return [
        _difference_note([row.label for row in several], [settings_of(first[row.configuration]) for row in several])
        for several in alike.values()
    ]


def _difference_note(labels: Sequence[str], settings: Sequence[Mapping[str, str]]) -> str:
    found = differing(settings)
    if not found:
        return f"{'; '.join(labels)}: their runs name no difference; `mltbench runs show ID` prints them."
    shown = list(found.items())[:SHOWN_DIFFERENCES]
    texts = [
        f"{label} has {', '.join(f'{name} {values[i][:SHOWN_OF_VALUE]}' for name, values in shown)}"
        for i, label in enumerate(labels)
    ]
    more = len(found) - SHOWN_DIFFERENCES
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


def _over_images(
    first: Row, second: Row, group: str, resampled: Mapping[str, Results], seeds: Collection[int] | None = None
) -> tuple[float, float] | None:
    """Ends of the interval over resampled images of the first's mean minus the second's, over seeds that both have."""
    one, other = (dict(zip(row.seeds, row.experiments, strict=True)) for row in (first, second))
    shared = [seed for seed in one if seed in other and (seeds is None or seed in seeds)]
    return difference_over_images([(one[seed], other[seed]) for seed in shared], group, resampled)
