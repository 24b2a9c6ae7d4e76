"""What all web pages share: they open from disk, load nothing from a network, and darken their figures with them."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

CARD, INK, LINE, GREY = "#1d1d20", "#e4e4e0", "#3c3c42", "#a8a8a4"
BLUE, PALE = "#4aa3df", "#5c5c62"
# Light colour, dark colour: black and white are swapped, blue and greys are lightened until they can be seen.
FILLS = {"#ffffff": CARD, "#000000": INK, "#0072b2": BLUE, "#767676": GREY, "#c8c8c8": PALE, "#ededed": "#2a2a2e"}
STROKES = {"#ffffff": CARD, "#000000": INK, "#262626": INK, "#0072b2": BLUE, "#767676": GREY, "#cccccc": PALE,
           "#e3e3e3": LINE}  # fmt: skip
TEXTS = {"#262626": INK, "#000000": INK, "#555555": GREY}


@cache
def templates(package: str) -> Environment:
    """Jinja templates beside the modules of a package; every text that they are given is escaped."""
    loader = PackageLoader(package, "")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def page_files() -> tuple[str, str]:
    """Style sheet and script of all pages, as markup: they are part of the suite, and hold no text from data."""
    style, script = ((files(__package__) / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return Markup(style), Markup(script)


def content_policy(script: str) -> str:
    """A content security policy for a page with this one script: nothing else runs, nothing is loaded."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def dark_style() -> str:
    """A style element for SVG; matplotlib writes colours into style attributes, so the rules select by these."""

    def rules(tags: tuple[str, ...], what: str, colours: dict[str, str]) -> str:
        return "".join(
            ",".join(f'{tag}[style*="{what}: {light}"]' for tag in tags) + f"{{{what}:{dark}!important}}"
            for light, dark in colours.items()
        )

    # SVG fills with black where no colour is given, and matplotlib then gives none. In a text with a formula, its group
    # and every letter have the colour.
    return (
        f"<style>@media (prefers-color-scheme: dark){{{rules(('path', 'use'), 'fill', FILLS)}"
        f"{rules(('',), 'stroke', STROKES)}svg{{fill:{INK}}}{rules(('text', 'tspan', 'g'), 'fill', TEXTS)}}}</style>"
    )


def add_dark_colours(svg: str) -> str:
    """The same SVG with a second set of colours for readers who prefer dark; doing it again changes nothing."""
    style = dark_style()
    head, closing, rest = svg.partition(">")
    return svg if style in svg else f"{head}{closing}{style}{rest}"


def adapt_figures(folder: Path) -> None:
    """Give every SVG of a folder its dark colours."""
    for path in sorted(folder.glob("*.svg")):
        path.write_text(add_dark_colours(path.read_text(encoding="utf-8")), encoding="utf-8")
