"""How a method looks: its colour, marker and dashes, the same in every figure, whatever else is in it."""

import zlib
from typing import Any

from ...methods.catalogue import RESAMPLED_SINCE_2020
from .style import BLACK, BLUE, COLOURS, DASHES, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION

SOLID, DASHED, DOTTED, DASH_DOTTED, *_ = DASHES
# Colour, marker and dashes by title. A hollow marker is the focal variant of the filled one.
STYLES: dict[str, tuple[str, str, Any]] = {
    "ERM": (BLACK, "o", SOLID),
    "Focal": (BLACK, "hollow o", DASHED),
    "RW": (GREY, "s", SOLID),
    "RS+RW-Focal": (GREY, "hollow s", DASHED),
    "RS": (BLUE, "s", SOLID),
    "RS-Focal": (BLUE, "hollow s", DASHED),
    "CB-Focal": (SKY, "hollow v", DASHED),
    "RS+CB-Focal": (SKY, "hollow ^", DASH_DOTTED),
    "ML-GCN": (PURPLE, "P", SOLID),
    "LDAM": (ORANGE, "X", SOLID),
    "R-BCE": (GREEN, "^", DASH_DOTTED),
    "R-BCE-Focal": (GREEN, "hollow ^", DOTTED),
    "NT-BCE": (PURPLE, "v", DASH_DOTTED),
    "DB": (VERMILLION, "D", SOLID),
    "DB-Focal": (VERMILLION, "hollow D", DASHED),
    "DB-Symmetric": (VERMILLION, "P", DOTTED),
    "Focal-alpha": (BLACK, "v", SOLID),
    "CB-Focal-sum": (SKY, "s", DASHED),
    "CB-Focal-positives": (SKY, "o", DASHED),
    "CB-Focal-class": (SKY, "D", DASHED),
    "LDAM-DRW": (ORANGE, "P", DASHED),
    "EQL v2": (PURPLE, "s", DASHED),
    "Logit-adjusted": (BLACK, "D", DASHED),
    "ASL": (ORANGE, "o", SOLID),
    "Hill": (GREEN, "o", SOLID),
    "SPLC": (GREEN, "s", DASHED),
    "ZLPR": (BLUE, "X", SOLID),
    "APL": (ORANGE, "s", DASHED),
    "RAL": (ORANGE, "D", DASH_DOTTED),
    "Two-way": (BLUE, "P", DASHED),
    "Weighted-BCE": (GREY, "o", SOLID),
    "Weighted-ASL": (ORANGE, "v", DOTTED),
    "Multi-Grained": (PURPLE, "o", SOLID),
    "MFM": (PURPLE, "D", DASHED),
    "BAL": (GREY, "X", DOTTED),
    "DB-Focal-alpha": (VERMILLION, "hollow s", DASH_DOTTED),
    "mAP-surrogate": (BLUE, "o", DASH_DOTTED),
}
# A re-sampled one is the hollow variant.
STYLES |= {
    method.title: (STYLES[base][0], f"hollow {STYLES[base][1]}", DASHED)
    for method in RESAMPLED_SINCE_2020
    if (base := method.title.removeprefix("RS-")) != method.title
}
# Other methods have markers of their own, so that they are never taken for one of these.
OTHER_MARKERS = ("<", ">", "p", "h", "*", "d", "hollow <", "hollow >", "hollow p", "hollow h", "hollow *", "hollow d")


def method_style(title: object) -> dict[str, Any]:
    """Colour, marker and dashes of a method, by its title alone: no other method changes them.

    A title that is not in the catalogue gets one of 96 pairs of colour and marker by its checksum.

    >>> method_style("DB")["marker"], method_style("DB-Focal")["markerfacecolor"]
    ('D', 'white')
    """
    colour, marker, dashes = STYLES.get(str(title)) or _style_of_another(str(title))
    hollow, _, shape = marker.rpartition(" ")
    inside = "white" if hollow else colour
    return {"color": colour, "marker": shape, "linestyle": dashes, "markerfacecolor": inside, "markeredgecolor": colour}


def marker_style(title: object) -> dict[str, Any]:
    """Colour and marker of a method, without a line."""
    return method_style(title) | {"linestyle": "none"}


def _style_of_another(title: str) -> tuple[str, str, Any]:
    place, colour = divmod(zlib.crc32(title.encode()), len(COLOURS))
    return COLOURS[colour], OTHER_MARKERS[place % len(OTHER_MARKERS)], DASHES[place % len(DASHES)]
