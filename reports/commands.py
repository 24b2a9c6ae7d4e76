"""`mltbench report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..benchmark.commands import Out, TrackingUri

if TYPE_CHECKING:
    import pandas as pd

    from .page import Section


def report(
    table: Annotated[list[int] | None, typer.Option(help="Only this table of the paper; repeatable.")] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this dataset; repeatable [default: all with runs].")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Runs of this recipe [default: the dataset's own].")] = None,
    out: Out = None,
    tracking_uri: TrackingUri = None,
    to: Annotated[Path | None, typer.Option(help="Folder of the report [default: report under --out].")] = None,
) -> None:
    """Print the tables and write them as a page, Markdown, LaTeX and CSV.

    \b
    Example:
        mltbench report --table 1 --dataset digits-mlt
    """
    from ..benchmark.plan import choose_methods
    from ..benchmark.recipes import get_recipe
    from ..benchmark.store import resolve_results_root
    from ..benchmark.terminal import console
    from ..datasets.errors import InputError
    from ..datasets.registry import get_dataset_entry
    from .quoted import quoted_datasets
    from .results import load_runs
    from .terminal import terminal

    choose_methods(table or [1], [])
    if recipe is not None:
        get_recipe(recipe)
    root = resolve_results_root(out)
    with console().status("reading runs"):
        runs = load_runs(root, tracking_uri=tracking_uri)
    names = dataset or sorted(runs[runs.state == "finished"].dataset.unique())
    if not names:
        raise InputError(
            f"no finished run under {root}: run `mltbench run --table 1` first, or point to them with --out"
        )
    for name in names:
        if name not in quoted_datasets() and not (runs.dataset == name).any():
            get_dataset_entry(name)
    folder = to or root / "report"
    sections = []
    for name in names:
        for number in table or [1, 2]:
            section = _write_table(runs, number, name, recipe, folder)
            console().print(terminal(section.table, width=console().width))
            console().print()
            sections.append(section)
    _write_page(sections, folder)
    console().print(f"report: {folder / 'index.html'}", soft_wrap=True)


def _write_table(runs: pd.DataFrame, number: int, dataset: str, recipe: str | None, folder: Path) -> Section:
    from ..datasets.errors import InputError
    from .figures.groups import draw_groups, groups_frame
    from .figures.style import as_svg
    from .formats import FORMATS
    from .page import Section
    from .table import build_table

    table = build_table(runs, number, dataset, recipe=recipe)
    figure = draw_groups(groups_frame(table, runs)) if any(row.seeds for row in table.rows) else None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for ending, write in FORMATS.items():
            (folder / f"table{number}-{dataset}.{ending}").write_text(write(table), encoding="utf-8")
        if figure is not None:
            figure.savefig(folder / f"table{number}-{dataset}.png", dpi=130)
            figure.savefig(folder / f"table{number}-{dataset}.pdf")
    except OSError as error:
        raise InputError(
            f"cannot write the report to {folder}: {error.strerror}; give a writable folder with --to"
        ) from error
    return Section(table=table, figure=as_svg(figure) if figure is not None else None)


def _write_page(sections: list[Section], folder: Path) -> None:
    from .page import render_page

    (folder / "index.html").write_text(render_page(sections), encoding="utf-8")
