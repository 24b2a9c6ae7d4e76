"""`mltbench report`."""

import gc
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd
from cyclopts import Parameter
from rich.text import Text

from ...benchmark.commands.options import StoreOptions
from ...benchmark.experiments.plan import choose_methods
from ...benchmark.experiments.recipe import get_recipe
from ...benchmark.tracking.store import TAG, Store, require_results
from ...datasets.commands.options import DataOptions, NotNegative
from ...datasets.registry import get_dataset_entry
from ...errors import InputError
from ...terminal import console, print_line, progress_bars
from ..figures.registry import draw_figures
from ..figures.source import FigureSource
from ..pages.report import DatasetReport, Report, Section, own_folder, shown_configurations, write_report
from ..pages.web import adapt_figures
from ..results.bootstrap import Results, bootstrap_runs
from ..results.quoted import quoted_datasets, read_quoted
from ..results.reference import agreement
from ..results.runs import per_class_frame, runs_frame
from ..tables.build import build_table, left_out_of_figures, pairs_frame
from ..tables.terminal import terminal
from ..tables.tuned import tuned_frame, tuned_table


def report(
    *,
    table: tuple[int, ...] = (),
    dataset: tuple[str, ...] = (),
    recipe: str | None = None,
    quoted: tuple[Path, ...] = (),
    bootstrap: Annotated[int, NotNegative] = 0,
    figures: Annotated[bool, Parameter(negative="--no-figures")] = True,
    results: StoreOptions = StoreOptions(),
    data: DataOptions = DataOptions(),
    to: Path | None = None,
) -> int:
    """Print the tables and write them as a page, Markdown, LaTeX, CSV and JSON, with figures.

    For example:

        mltbench report --table 1 --dataset digits-mlt
        mltbench report --bootstrap 1000 --quoted others.csv --to paper-report

    Args:
        table: Only this table of the paper; repeatable.
        dataset: Only this dataset; repeatable [default: all with runs].
        recipe: Runs of this recipe [default: the dataset's own].
        quoted: CSV of published rows to quote: method, dataset, total, head, medium, tail, source.
        bootstrap: Resample the test images so often, for intervals over images; 0 is not at all.
        figures: Draw the figures.
        to: Folder of the report [default: report under --out].
    """
    # Everything that is read stays until the end; looking for garbage in it took a tenth of the CPU time (500 runs).
    gc.disable()
    choose_methods(table or [1], [])
    further = [row for file in quoted for row in read_quoted(file)]
    require_results(results.root, results.tracking_uri)
    folder = to or results.root / "report"
    store = results.open(create=False)
    with console().status("reading runs"):
        runs = runs_frame(store)
        if recipe is not None and recipe not in set(runs.recipe):
            get_recipe(recipe)
        names = _chosen_datasets(runs, dataset, store)
        own = runs[runs.dataset.isin(names)]
        per_class = per_class_frame(store, own)
    with own_folder(folder):
        resampled = _bootstrap(store, own, per_class, bootstrap) if bootstrap else None
        reports: list[DatasetReport] = []
        for name in names:
            sections = []
            for number in table or [1, 2]:
                built = build_table(own, number, name, recipe=recipe, per_class=per_class, quoted=further)
                sections.append(Section(table=built, pairs=pairs_frame(built, own, resampled)))
                console().print(terminal(built, width=console().width))
                console().print()
            judged = tuned_frame(store, runs, name)
            if not judged.empty:
                console().print(tuned_table(judged))
            entry = DatasetReport(dataset=name, sections=tuple(sections))
            if figures:
                entry = _with_figures(entry, own, store, data.data_root, folder, recipe)
            reports.append(entry)
        records = shown_configurations(store, own, reports)
        page = write_report(Report(datasets=tuple(reports), configurations=records, resamples=bootstrap), folder)
    console().print(f"report: {page}", soft_wrap=True)
    if compared := agreement(own):
        print_line(compared)
    failed = [f"figure {name} of {one.dataset}: {text}" for one in reports for name, text in one.drawing.failed.items()]
    for line in failed:
        console().print(Text(f"failed: {line}", style="bold red"), soft_wrap=True)
    return int(bool(failed))


def _chosen_datasets(runs: pd.DataFrame, asked: Sequence[str], store: Store) -> list[str]:
    studied = {run.data.tags.get(f"{TAG}study_dataset", "") for run in store.runs_of(kind="study")} - {""}
    names = list(dict.fromkeys(asked or sorted({*runs[runs.state == "finished"].dataset, *studied})))
    if not names:
        cure = "`mltbench run --dataset digits-mlt --table 1` makes some, --out points to others"
        raise InputError(f"no finished run under {store.root}: {cure}")
    for name in names:
        if name not in quoted_datasets() and not (runs.dataset == name).any():
            get_dataset_entry(name)
    return names


def _bootstrap(store: Store, runs: pd.DataFrame, per_class: pd.DataFrame, resamples: int) -> dict[str, Results]:
    number = int((runs.state == "finished").sum())
    with progress_bars() as advance:
        on_run = partial(advance, "bootstrap over test images", 1, number)
        return bootstrap_runs(store, runs, per_class, resamples=resamples, on_run=on_run)


def _with_figures(
    entry: DatasetReport, runs: pd.DataFrame, store: Store, data_root: Path | None, folder: Path, recipe: str | None
) -> DatasetReport:
    source = FigureSource(dataset=entry.dataset, data_root=data_root, runs=runs, store=store, recipe=recipe)
    with console().status("drawing figures") as status:
        found = draw_figures(source, folder / entry.folder, on_figure=lambda name: status.update(f"drawing {name}"))
    adapt_figures(folder / entry.folder)
    of_results = any(figure.part == "results" for figure in found.drawn)
    left_out = left_out_of_figures(runs, entry.dataset, source.standard_runs) if of_results else ()
    return replace(entry, drawing=found, left_out=left_out)
