"""`mltbench methods`."""

from collections.abc import Sequence

from rich.table import Table

from ..errors import require_known
from ..terminal import Json, console, print_json, table_of
from .catalogue import DEFAULT_VALUES, VALUES, get_method, list_methods
from .method import Method


def methods(name: str | None = None, /, *, dataset: str | None = None, as_json: Json = False) -> None:
    """List the methods with their sources, or show one with its hyper-parameters and its search space.

    For example:

        mltbench methods
        mltbench methods db-focal --dataset coco-mlt

    Args:
        name: Show one method with its parts and hyper-parameters.
        dataset: Whose hyper-parameters of the paper to show.
    """
    if dataset is not None:
        require_known("dataset with hyper-parameters of its own", dataset, VALUES)
    names = [name] if name else [method.name for method in list_methods()]
    chosen = [get_method(item, dataset=dataset) for item in names]
    if as_json:
        rows = [
            {"name": m.name, "title": m.title, "summary": m.summary, "reference": m.reference, **m.as_json()}
            | {"search_space": {name: searched.as_json() for name, searched in m.search_space.items()}}
            for m in chosen
        ]
        print_json(rows)
        return
    console().print(_parameters(chosen[0], dataset) if name else _overview(chosen))


def _overview(chosen: Sequence[Method]) -> Table:
    rows = [(m.name, m.summary, m.reference, m.sampler.kind) for m in chosen]
    columns = ("name", "what it is", "equation or source", "sampler")
    caption = "mltbench methods NAME shows hyper-parameters"
    return table_of(columns, rows, prose=columns[1:3], optional=columns[3:], caption=caption)


def _parameters(method: Method, dataset: str | None) -> Table:
    kinds = "; ".join(slot if slot == part.kind else f"{slot} {part.kind}" for slot, part in method.parts.items())
    title = f"{method.title}: {method.summary} ({method.reference})\n{kinds}; schedule {method.schedule}\n"
    caption = (
        f"values for {dataset or DEFAULT_VALUES}; change one with --override method.NAME=VALUE\n"
        "searched by mltbench study tune; (in brackets: only if asked for with --parameter)"
    )
    rows: list[tuple[str, ...]] = []
    for slot, part in method.parts.items():
        ranges = getattr(part, "ranges", {})
        for name, value in part.parameters.items():
            low, high = ranges.get(name, (None, None))
            allowed = "" if low is None else f"{low:g} to {high:g}"
            paper, searched = "-", ""
            if found := part.search_space.get(name):
                paper = "-" if found.paper is None else str(VALUES[dataset or DEFAULT_VALUES].get(name, found.paper))
                searched = found.text if found.tuned else f"({found.text})"
            rows.append((slot, name, str(value), paper, allowed, searched))
    columns = ("part", "hyper-parameter", "value", "paper", "allowed", "searched")
    return table_of(columns, rows, prose=("searched",), optional=("part", "paper"), title=title, caption=caption)
