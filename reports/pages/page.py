"""Web pages that open from disk and load nothing from a network; the report as one of them."""

import base64
import hashlib
import math
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ... import __version__
from ...benchmark.training.metrics import SCORE_NAMES
from ..tables.result_table import NOISE_SIGN
from ..tables.summary import join_words, seeds_in_words
from .report import Report, Section

# A larger matrix of pairs is a wall of numbers; its CSV holds them all.
MATRIX_AT_MOST = 20


@cache
def templates(package: str) -> Environment:
    """Jinja templates beside the modules of a package; every text that they are given is escaped."""
    return Environment(
        loader=PackageLoader(package, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(report: Report) -> str:
    """Render the report."""
    style, script = page_files()
    names = join_words([dataset.dataset for dataset in report.datasets])
    return (
        templates(str(__package__))
        .get_template("page.html.jinja")
        .render(
            report=report,
            title=f"Long-tailed multi-label recognition on {names}",
            groups=SCORE_NAMES,
            noise_sign=NOISE_SIGN,
            version=__version__,
            style=style,
            script=script,
            policy=content_policy(script),
            matrix=pair_matrix,
            seeds_in_words=seeds_in_words,
        )
    )


def page_files() -> tuple[str, str]:
    """Style sheet and script of all pages, as markup: they are part of the suite, and hold no text from data."""
    style, script = ((files(__package__) / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return Markup(style), Markup(script)


def content_policy(script: str) -> str:
    """A content security policy for a page with this one script: nothing else runs, nothing is loaded."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def pair_matrix(section: Section, group: str) -> list[tuple[str, list[dict[str, str] | None]]]:
    """Paired differences of one group as a square, row minus column: each row's label and its cells.

    It is empty where it were too large; a cell is None where the two share no seed.
    """
    labels = [row.label for row in section.table.rows if row.cells[group].mean is not None]
    if not 2 <= len(labels) <= MATRIX_AT_MOST:
        return []
    cells = {}
    columns = ["first", "second", "difference", "low", "high", "images_low", "images_high"]
    for first, second, mean, low, high, images_low, images_high in section.pairs.loc[
        section.pairs.group == group, columns
    ].itertuples(index=False):
        cells[first, second] = _pair_cell(mean, low, high, images_low, images_high)
        cells[second, first] = _pair_cell(-mean, -high, -low, -images_high, -images_low)
    return [(row, [cells.get((row, column)) for column in labels]) for row in labels]


def _pair_cell(mean: float, low: float, high: float, images_low: float, images_high: float) -> dict[str, str]:
    sign = f" {NOISE_SIGN}" if math.isfinite(low) and low <= 0 <= high else ""
    return {
        "difference": f"{mean:+.2f}".replace("-", "−") + sign,  # noqa: RUF001 - a minus as wide as the plus
        "over_seeds": f"[{low:.2f}, {high:.2f}]" if math.isfinite(low) else "one seed",
        "over_images": "" if math.isnan(images_low) else f"[{images_low:.2f}, {images_high:.2f}]",
    }
