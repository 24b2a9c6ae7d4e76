"""`mltbench methods`."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ..errors import require_known
from ..terminal import Json, console, print_json, print_line, print_tables, table_of
from .catalogue import DEFAULT_VALUES, PAPER_VALUES, TABLES, VALUES, get_method, list_methods, whose_paper_values
from .method import Method

# What `mltbench methods` calls tables besides their numbers.
TITLES = {1: ", the paper's", 2: ", its steps", 3: ", since 2020"}


def methods(name: str | None = None, /, *, dataset: str | None = None, as_json: Json = False) -> None:
    """List the methods by table with their sources, or show one with its equation, values and search space.

    For example:

        mltbench methods
        mltbench methods db-focal --dataset coco-mlt

    Args:
        name: Show one method with its parts and hyper-parameters.
        dataset: Whose hyper-parameters to show: those of the paper, or those that were tuned.
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
    if name is None:
        print_tables(_overview(chosen))
        print_line("mltbench methods NAME shows equations and hyper-parameters")
    else:
        for line in _heading(chosen[0]):
            console().print(Text(line))
        print_tables([_parameters(chosen[0], dataset)])


def _overview(chosen: Sequence[Method]) -> list[Table]:
    """A table of methods for each table of results, each method once, and one of those in none."""
    columns, left = ("name", "what it is", "equation or source", "sampler"), {method.name: method for method in chosen}
    names = {f"Table {number}{TITLES.get(number, '')}": table for number, table in TABLES.items()}
    tables = []
    for title, table in {**names, "In no table": tuple(left)}.items():
        rows = [(m.name, m.summary, m.reference, m.sampler.kind) for name in table if (m := left.pop(name, None))]
        tables.append(table_of(columns, rows, prose=columns[1:3], optional=columns[3:], title=title))
    return tables


def _heading(method: Method) -> list[str]:
    """What a method is, its parts, and their equations."""
    kinds = "; ".join(slot if slot == part.kind else f"{slot} {part.kind}" for slot, part in method.parts.items())
    equations = [f"{slot}: {part.equation}" for slot, part in method.parts.items() if getattr(part, "equation", "")]
    first = f"{method.title}: {method.summary} ({method.reference})"
    return [first, f"{kinds}; schedule {method.schedule}", *equations]


def _parameters(method: Method, dataset: str | None) -> Table:
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
                of_paper = PAPER_VALUES[whose_paper_values(dataset)]
                paper = "-" if found.paper is None else _text(of_paper.get(name, found.paper))
                searched = found.text if found.tuned else f"({found.text})"
            rows.append((slot, name, _text(value), paper, allowed, searched))
    for recipe, settings in method.recipes.items():
        rows += [("recipe", name, _text(value), "-", "", f"with {recipe}") for name, value in settings.items()]
    columns = ("part", "hyper-parameter", "value", "paper", "allowed", "searched")
    return table_of(columns, rows, prose=("searched",), optional=("part", "paper"), caption=caption)


def _text(value: object) -> str:
    return str(round(value, 6)) if isinstance(value, float) else str(value)
