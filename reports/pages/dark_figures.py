"""Figures that follow a dark page: the same SVG, with a second set of colours for readers who prefer dark."""

from pathlib import Path

CARD, INK, LINE, GREY = "#1d1d20", "#e4e4e0", "#3c3c42", "#a8a8a4"
BLUE, PALE = "#4aa3df", "#5c5c62"
# Light colour, dark colour: black and white are swapped, blue and greys are lightened until they can be seen.
FILLS = {"#ffffff": CARD, "#000000": INK, "#0072b2": BLUE, "#767676": GREY, "#c8c8c8": PALE, "#ededed": "#2a2a2e"}
STROKES = {"#ffffff": CARD, "#000000": INK, "#262626": INK, "#0072b2": BLUE, "#767676": GREY, "#cccccc": PALE,
           "#e3e3e3": LINE}  # fmt: skip
TEXTS = {"#262626": INK, "#000000": INK, "#555555": GREY}


def dark_style() -> str:
    """The style element; matplotlib writes colours into style attributes, so the rules select by these."""

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
    """The same SVG with the dark colours; doing it again changes nothing."""
    style = dark_style()
    head, closing, rest = svg.partition(">")
    return svg if style in svg else f"{head}{closing}{style}{rest}"


def adapt_figures(folder: Path) -> None:
    """Give every SVG of a folder its dark colours."""
    for path in sorted(folder.glob("*.svg")):
        path.write_text(add_dark_colours(path.read_text(encoding="utf-8")), encoding="utf-8")
