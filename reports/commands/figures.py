"""`mltbench figures list | draw`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape

from ...benchmark.commands.options import StoreOptions
from ...datasets.commands.options import DataOptions
from ...datasets.importing.label_files import read_matrices, split_and_path
from ...datasets.importing.label_options import LabelOptions
from ...datasets.registry import get_dataset_entry
from ...errors import InputError
from ...terminal import Json, console, print_json, print_line, table_of
from ..figures.registry import draw_figures, get_figure, list_figures
from ..figures.source import FigureSource
from ..results.runs import runs_frame


def list_all(*, as_json: Json = False) -> None:
    """List the figures with what they need: finished runs, trials of studies, labels, or nothing.

    For example: `mltbench figures list`
    """
    entries = list_figures()
    if as_json:
        print_json([{"name": e.name, "title": e.title, "needs": e.part} for e in entries])
        return
    rows = [(e.name, e.title, "nothing" if e.part == "equations" else e.part) for e in entries]
    console().print(table_of(("name", "title", "needs"), rows, prose=("title",)))


def draw(
    dataset: str | None = None,
    /,
    *,
    labels: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    reading: LabelOptions = LabelOptions(),
    figure: tuple[str, ...] = (),
    recipe: str | None = None,
    to: Path = Path("figures"),
    store: StoreOptions = StoreOptions(),
    data: DataOptions = DataOptions(),
) -> int:
    """Draw the figures of a dataset that have data: SVG, PDF and PNG, with the data as CSV beside them.

    Figures of labels and equations need no run; those of results are drawn from the runs under --out, if any.

    For example:

        mltbench figures draw digits-mlt --to figures
        mltbench figures draw --labels labels.csv --figure co-occurrence

    Args:
        dataset: The dataset; with --labels, how to call it.
        labels: Labels alone instead of a dataset: an .npz with ids and labels, or any files that `data import` reads.
        figure: Only this figure; repeatable.
        recipe: Runs of this recipe [default: the dataset's own].
        to: Folder of the figures.
    """
    entries = [get_figure(name) for name in figure] if figure else None
    if labels:
        matrix = read_matrices(labels, reading)[0]["train"]
        title = dataset or split_and_path(labels[0])[1].stem
        source = FigureSource(dataset=title, labels=(matrix.labels, matrix.classes))
    elif dataset is not None:
        get_dataset_entry(dataset)
        opened = store.open(create=False) if store.tracking_uri or (store.root / "mlflow.db").exists() else None
        runs = runs_frame(opened) if opened else None
        source = FigureSource(dataset=dataset, data_root=data.data_root, store=opened, runs=runs, recipe=recipe)
    else:
        raise InputError("nothing to draw: name a dataset (`mltbench data list` shows them), or give --labels FILE")
    with console().status("drawing") as status:
        found = draw_figures(source, to, entries=entries, on_figure=lambda name: status.update(f"drawing {name}"))
    for one in found.drawn:
        print_line(f"drawn    {one.name}: {one.title}")
    for name, reason in found.without.items():
        console().print(f"[dim]left out {name}: {escape(reason)}[/dim]", soft_wrap=True)
    for name, reason in found.failed.items():
        console().print(f"[bold red]failed[/bold red]   {name}: {escape(reason)}", soft_wrap=True)
    console().print(
        f"{len(found.drawn)} figures in {escape(str(to))}, each as .svg, .pdf, .png and .csv", soft_wrap=True
    )
    return 0 if found.drawn and not found.failed else 1
