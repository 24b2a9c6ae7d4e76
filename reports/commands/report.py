"""`mltbench report`."""

import gc
import re
import shlex
from collections.abc import Sequence, Set
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from cyclopts import Parameter
from rich.text import Text

from ...benchmark.commands.options import StoreOptions
from ...benchmark.experiments.plan import choose_methods
from ...benchmark.experiments.recipe import get_recipe
from ...benchmark.tracking.store import TAG, Store, require_results
from ...benchmark.tracking.sync import lacking
from ...datasets.commands.options import DataOptions, NotNegative
from ...datasets.registry import get_dataset_entry
from ...errors import InputError, require_known
from ...files import safe_file_name
from ...methods.catalogue import TABLES
from ...terminal import console, print_line, progress_bars
from ..figures.registry import draw_figures
from ..figures.source import FigureSource
from ..pages.report import DatasetReport, Report, Section, own_folder, shown_configurations, write_report
from ..pages.web import adapt_figures
from ..results.bootstrap import Results, bootstrap_runs
from ..results.quoted import QuotedRow, quoted_datasets, quoted_rows, read_quoted
from ..results.reference import agreement
from ..results.rows import method_order, select_runs
from ..results.runs import per_class_frame, runs_frame
from ..tables.build import build_table, classes_frame, pairs_frame, repeats, runs_of_table
from ..tables.terminal import terminal
from ..tables.tuned import tuned_frame, tuned_table


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ShownOptions:
    """Which part of the results a report shows; all of them by default."""

    table: tuple[int, ...] = ()
    """Only this table; repeatable."""
    dataset: tuple[str, ...] = ()
    """Only this dataset; repeatable [default: all with runs]."""
    recipe: str | None = None
    """Runs of this recipe [default: the dataset's own if it has runs, else the one that most runs have]."""
    method: tuple[str, ...] = ()
    """Only this method, or this row by its label; all rows that are named compete; repeatable."""
    without: tuple[str, ...] = ()
    """All but this method or row; repeatable."""

    @property
    def text(self) -> str:
        """What was chosen, as pages say it; empty for everything."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return "; ".join(
            f"{name} {value if isinstance(value, str) else ', '.join(map(str, value))}"
            for name, value in given.items()
            if value
        )

    @property
    def folder(self) -> str:
        """Name of the report's folder: a part of the results does not replace the report of all of them."""
        return safe_file_name("-".join(["report", *re.findall(r"[\w.+-]+", self.text)]))


def report(
    *,
    shown: ShownOptions = ShownOptions(),
    quoted: tuple[Path, ...] = (),
    bootstrap: Annotated[int, NotNegative] = 500,
    figures: Annotated[bool, Parameter(negative="--no-figures")] = True,
    results: StoreOptions = StoreOptions(),
    data: DataOptions = DataOptions(),
    to: Path | None = None,
) -> int:
    """Print the tables and write them as a page, Markdown, LaTeX, CSV and JSON, with figures.

    For example:

        mltbench report --table 1 --dataset digits-mlt
        mltbench report --method db --method my-loss --to ours
        mltbench report --bootstrap 2000 --quoted others.csv --to paper-report

    Args:
        quoted: CSV of published rows to quote: method, dataset, total, head, medium, tail, source.
        bootstrap: Resample the test images so often, for intervals over images; 0 is not at all.
        figures: Draw the figures.
        to: Folder of the report [default: report under --out, and report-PART for a part of the results].
    """
    # Everything that is read stays until the end; looking for garbage in it took a tenth of the CPU time (500 runs).
    gc.disable()
    choose_methods(shown.table or [1], [])
    further = [row for file in quoted for row in read_quoted(file)]
    require_results(results.root, results.tracking_uri)
    folder = to or results.root / shown.folder
    store = results.open(create=False)
    with console().status("reading runs"):
        runs = runs_frame(store)
        if shown.recipe is not None and shown.recipe not in set(runs.recipe):
            get_recipe(shown.recipe)
        studied = {run.data.tags.get(f"{TAG}study_dataset", "") for run in store.runs_of(kind="study")} - {""}
        names = _chosen_datasets(runs, shown.dataset, studied)
        own = runs[runs.dataset.isin(names)]
        per_class = per_class_frame(store, own)
    chosen = _chosen_rows(own, names, shown)
    ids = {name: select_runs(own, name, **rows).runs.experiment_id for name, rows in chosen.items()}
    selected = {name: own[own.experiment_id.isin(of_rows)] for name, of_rows in ids.items()}
    whole = () if shown.table or shown.recipe or shown.method else studied
    empty = [
        name
        for name, own_runs in selected.items()
        if name not in whole and not _has_rows(own_runs, name, shown, further)
    ]
    if len(empty) == len(chosen) or (empty and shown.dataset):
        raise _nothing_for(shown, store, runs)
    chosen = {name: rows for name, rows in chosen.items() if name not in empty}
    selected = {name: rows for name, rows in selected.items() if name not in empty}
    with own_folder(folder):
        resampled: dict[str, Results] = {}
        if bootstrap and selected:
            resampled = _bootstrap(store, pd.concat(selected.values()), per_class, bootstrap)
        reports: list[DatasetReport] = []
        for name, rows in chosen.items():
            sections = []
            for number in shown.table or TABLES:
                table = build_table(own, number, name, per_class=per_class, quoted=further, resampled=resampled, **rows)
                if not (table.every_row or table.quoted) or (repeats(table) and not shown.table):
                    continue
                classes = classes_frame(table, per_class)
                sections.append(Section(table=table, pairs=pairs_frame(table, own, resampled), classes=classes))
                console().print(terminal(table, width=console().width))
                console().print()
            judged = tuned_frame(store, runs, name)
            if not judged.empty:
                console().print(tuned_table(judged))
            entry = DatasetReport(dataset=name, sections=tuple(sections))
            if figures:
                entry = _with_figures(entry, selected[name], store, data.data_root, folder, shown)
            reports.append(entry)
        records = shown_configurations(store, own, reports)
        found = Report(datasets=tuple(reports), configurations=records, resamples=bootstrap, chosen=shown.text)
        page = write_report(found, folder)
    print_line(f"report: {page}")
    if not (own.state == "finished").any():
        print_line(f"no run on {', '.join(names)} is here: the report shows published numbers alone")
    for sentence in lacking(store, set(runs.experiment_id)):
        print_line(sentence)
    if compared := agreement(own):
        print_line(compared)
    failed = [f"figure {name} of {one.dataset}: {text}" for one in reports for name, text in one.drawing.failed.items()]
    for line in failed:
        console().print(Text(f"failed: {line}", style="bold red"), soft_wrap=True)
    return int(bool(failed))


def _chosen_datasets(runs: pd.DataFrame, asked: Sequence[str], studied: Set[str]) -> list[str]:
    names = list(dict.fromkeys(asked or sorted({*runs[runs.state == "finished"].dataset, *studied})))
    for name in names:
        if name not in quoted_datasets() and not (runs.dataset == name).any():
            get_dataset_entry(name)
    return names


def _has_rows(runs: pd.DataFrame, dataset: str, shown: ShownOptions, further: Sequence[QuotedRow]) -> bool:
    """Whether a table has a row of finished runs, or of published numbers where no recipe is asked for."""
    finished, tables = runs[runs.state == "finished"], shown.table or TABLES
    published = [] if shown.recipe else [row for row in (*quoted_rows(), *further) if row.dataset == dataset]
    return any(len(runs_of_table(finished, n)) or any(row.table == n for row in published) for n in tables)


def _nothing_for(shown: ShownOptions, store: Store, runs: pd.DataFrame) -> InputError:
    """The error where nothing that was asked for is there: what is, and what makes more."""
    finished = runs[runs.state == "finished"]
    there = [
        f"{dataset}, recipe {recipe}: {', '.join(method_order(alike.method))}"
        for (dataset, recipe), alike in finished.groupby(["dataset", "recipe"])
    ]
    sentences = [
        *(["there are " + ", and ".join(there)] if there else []),
        *lacking(store, set(finished.experiment_id)),
    ]
    dataset = shown.dataset[0] if shown.dataset else "digits-mlt"
    asked = finished[(finished.dataset == dataset) & (finished.recipe == (shown.recipe or finished.recipe))]
    if asked.empty:
        recipe = f" --recipe {shlex.quote(shown.recipe)}" if shown.recipe else ""
        sentences += [f"`mltbench run --dataset {shlex.quote(dataset)} --table 1{recipe} {store.options}` makes some"]
    sentences += [f"Table {number} is {', '.join(TABLES[number])}" for number in shown.table]
    wanted = f" for {shown.text}" if shown.text else ""
    return InputError(f"no finished run under {store.root}{wanted}: {'; '.join(sentences)}; --out points to others")


def _chosen_rows(runs: pd.DataFrame, names: Sequence[str], shown: ShownOptions) -> dict[str, dict[str, Any]]:
    """What `select_runs` takes, by dataset: of the named rows those that it has; one without any is left out."""
    chosen, known = {}, dict[str, None]()
    for name in names:
        there = select_runs(runs, name, recipe=shown.recipe).runs
        rows = dict.fromkeys([*there.method, *there.row])
        methods, without = ([row for row in named if row in rows] for named in (shown.method, shown.without))
        known |= rows
        if methods or not shown.method:
            chosen[name] = {"recipe": shown.recipe, "methods": methods, "without": without}
    for row in (*shown.method, *shown.without):
        require_known("method or row", row, known)
    return chosen


def _bootstrap(store: Store, runs: pd.DataFrame, per_class: pd.DataFrame, resamples: int) -> dict[str, Results]:
    number = int((runs.state == "finished").sum())
    with progress_bars() as advance:
        on_run = partial(advance, "bootstrap over test images", 1, number)
        return bootstrap_runs(store, runs, per_class, resamples=resamples, on_run=on_run)


def _with_figures(
    entry: DatasetReport,
    runs: pd.DataFrame,
    store: Store,
    data_root: Path | None,
    folder: Path,
    shown: ShownOptions,
) -> DatasetReport:
    source = FigureSource(dataset=entry.dataset, data_root=data_root, runs=runs, store=store, recipe=shown.recipe)
    with console().status("drawing figures") as status:
        found = draw_figures(source, folder / entry.folder, on_figure=lambda name: status.update(f"drawing {name}"))
    adapt_figures(folder / entry.folder)
    of_results = any(figure.part == "results" for figure in found.drawn)
    return replace(entry, drawing=found, left_out=source.left_out if of_results else ())
