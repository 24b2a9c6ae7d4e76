"""The report as one HTML page that opens from disk and asks no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import __version__
from .results import GROUPS
from .rows import ResultTable


@dataclass(frozen=True, kw_only=True)
class Section:
    """One table of the page.

    Attributes:
        table: the table.
        figure: its figure as an SVG element, or None.
    """

    table: ResultTable
    figure: str | None


def render_page(sections: Sequence[Section]) -> str:
    """Render the page; every text from data is escaped, the figures are our own SVG."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("mltbench.reports", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    shown = [{"table": s.table, "figure": Markup(s.figure) if s.figure else None} for s in sections]
    return environment.get_template("page.html.jinja").render(sections=shown, groups=GROUPS, version=__version__)
