"""Figures that follow a dark page: the same SVG, with a second set of colours for whoever prefers dark."""

from __future__ import annotations

from pathlib import Path

CARD, INK, LINE, GREY = "#1d1d20", "#e4e4e0", "#3c3c42", "#a8a8a4"
# Light colour, dark colour: black and white change places, blue and greys are lightened until they are seen.
FILLS = {
    "#ffffff": CARD,
    "#000000": INK,
    "#0072b2": "#4aa3df",
    "#767676": GREY,
    "#c8c8c8": "#5c5c62",
    "#ededed": "#2a2a2e",
}
STROKES = {"#ffffff": CARD, "#000000": INK, "#262626": INK, "#0072b2": "#4aa3df", "#767676": GREY, "#cccccc": "#5c5c62",
           "#e3e3e3": LINE}  # fmt: skip
TEXTS = {"#262626": INK, "#000000": INK, "#555555": GREY}


def dark_style() -> str:
    """The style element; matplotlib writes colours into style attributes, so the rules ask for these."""
    rules = [
        f'path[style*="fill: {light}"],use[style*="fill: {light}"]{{fill:{dark}!important}}'
        for light, dark in FILLS.items()
    ]
    rules += [f'[style*="stroke: {light}"]{{stroke:{dark}!important}}' for light, dark in STROKES.items()]
    # Black is what SVG fills with where nothing is said, and matplotlib then says nothing.
    rules += [f"svg{{fill:{INK}}}"]
    # In a text with a formula its group and every letter have the colour.
    rules += [
        ",".join(f'{tag}[style*="fill: {light}"]' for tag in ("text", "tspan", "g")) + f"{{fill:{dark}!important}}"
        for light, dark in TEXTS.items()
    ]
    return f"<style>@media (prefers-color-scheme: dark){{{''.join(rules)}}}</style>"


def add_dark_colours(svg: str) -> str:
    """The same SVG with the dark colours; doing it again changes nothing."""
    style = dark_style()
    if style in svg:
        return svg
    head, closing, rest = svg.partition(">")
    return f"{head}{closing}{style}{rest}"


def adapt_figures(folder: Path) -> None:
    """Give every SVG of a folder its dark colours."""
    for path in sorted(folder.glob("*.svg")):
        path.write_text(add_dark_colours(path.read_text(encoding="utf-8")), encoding="utf-8")
