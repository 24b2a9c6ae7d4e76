"""The report as one HTML page that opens from disk and asks no network."""

from __future__ import annotations

import base64
import hashlib
import math
from dataclasses import dataclass
from importlib.resources import files

from ... import __version__
from ..results.results import GROUPS
from ..tables.formats import legend, numbered_notes, quoted_notes, sources
from ..tables.rows import NOISE_MARK
from ..tables.summary import join_words, seeds_in_words
from .report import Report, Section

# A larger matrix of pairs is a wall of numbers; its CSV holds them all.
MATRIX_AT_MOST = 20


@dataclass(frozen=True, kw_only=True)
class PairCell:
    """One cell of the matrix of paired differences, row minus column; texts are empty where nothing is shared."""

    difference: str = ""
    over_seeds: str = ""
    over_images: str = ""
    is_noise: bool = False


def render_page(report: Report) -> str:
    """Render the page; every text from data is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mltbench.reports.pages", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = page_files()
    functions = {"legend": legend, "matrix": pair_matrix, "seeds_in_words": seeds_in_words, "anchor": _anchor}
    functions |= {"sources": sources, "quoted_notes": quoted_notes, "numbered_notes": numbered_notes}
    return environment.get_template("page.html.jinja").render(
        report=report,
        title=_title(report),
        groups=GROUPS,
        noise_mark=NOISE_MARK,
        version=__version__,
        style=style,
        script=script,
        policy=content_policy(script),
        **functions,
    )


def page_files() -> tuple[str, str]:
    """Style sheet and script of our pages, as markup: they are ours, and hold no text from data."""
    from markupsafe import Markup

    style, script = ((files(__package__) / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return Markup(style), Markup(script)


def content_policy(script: str) -> str:
    """A content security policy for a page with this one script: nothing else runs, nothing is asked of a network."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def pair_matrix(section: Section, group: str) -> list[tuple[str, list[PairCell]]]:
    """Paired differences of one group as a square: each row's label and its cells; empty where too large."""
    labels = [row.label for row in section.table.rows if row.cells[group].mean is not None]
    if not 2 <= len(labels) <= MATRIX_AT_MOST:
        return []
    cells: dict[tuple[str, str], PairCell] = {}
    pairs = section.pairs[section.pairs.group == group]
    for first, second, *numbers in pairs[
        ["first", "second", "difference", "low", "high", "images_low", "images_high"]
    ].itertuples(index=False):
        cells[first, second] = _pair_cell(*numbers)
        difference, low, high, images_low, images_high = numbers
        cells[second, first] = _pair_cell(-difference, -high, -low, -images_high, -images_low)
    return [(row, [cells.get((row, column), PairCell()) for column in labels]) for row in labels]


def _pair_cell(difference: float, low: float, high: float, images_low: float, images_high: float) -> PairCell:
    return PairCell(
        difference=f"{difference:+.2f}".replace("-", "−"),  # noqa: RUF001 - a minus as wide as the plus
        over_seeds=f"[{low:.2f}, {high:.2f}]" if math.isfinite(low) else "one seed",
        over_images="" if math.isnan(images_low) else f"[{images_low:.2f}, {images_high:.2f}]",
        is_noise=math.isfinite(low) and low <= 0 <= high,
    )


def _title(report: Report) -> str:
    names = [dataset.dataset for dataset in report.datasets]
    return f"Long-tailed multi-label recognition on {join_words(names)}"


def _anchor(configuration: str) -> str:
    return f"c-{configuration}"
