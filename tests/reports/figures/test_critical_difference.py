import io

import pandas as pd
import pytest
from mltbench.reports.figures.critical_difference import draw_critical_difference, ranks_frame
from mltbench.reports.figures.registry import get_figure
from mltbench.reports.figures.source import MissingDataError
from mltbench.reports.figures.style import as_svg
from mltbench.reports.pages.dark_figures import add_dark_colours, dark_style


def per_class(results, split="test"):
    """Lines of AP from {method: {seed: [AP of each class]}}."""
    return pd.DataFrame(
        [
            {"title": title, "seed": seed, "class_name": f"class {i}", "split": split, "ap": ap}
            for title, seeds in results.items()
            for seed, values in seeds.items()
            for i, ap in enumerate(values)
        ]
    )


RESULTS = {
    "A": {0: [90, 80, 70, 60], 1: [92, 82, 72, 62], 5: [0, 0, 0, 0]},
    "B": {0: [80, 70, 60, 70], 1: [80, 70, 60, 70]},
    "$C_$": {0: [70, 60, 50, 50], 1: [99, 60, 50, 50], 2: [99, 99, 99, 99]},
}


def test_ranks_are_of_means_over_the_seeds_that_all_share():
    # Means of seeds 0 and 1: A 91 81 71 61, B 80 70 60 70, C 84.5 60 50 50: ranks 1 1 1 2, 3 2 2 1, 2 3 3 3.
    frame = ranks_frame(pd.concat([per_class(RESULTS), per_class(RESULTS, "validation")]), "toy")
    assert dict(zip(frame.method, frame["rank"], strict=True)) == {"A": 1.25, "B": 2.0, "$C_$": 2.75}
    assert (frame.seeds.iloc[0], frame.classes.iloc[0]) == (2, 4)


def test_too_little_is_said_and_not_drawn():
    with pytest.raises(MissingDataError, match="3 methods that share a seed"):
        ranks_frame(per_class({name: RESULTS[name] for name in ("A", "B")}), "toy")
    with pytest.raises(MissingDataError, match="share a seed"):
        ranks_frame(per_class(RESULTS | {"D": {7: [1, 2, 3, 4]}}), "toy")


def test_the_picture_names_its_test_its_blocks_and_its_limits():
    frame = ranks_frame(per_class(RESULTS), "toy")
    svg = as_svg(draw_critical_difference(frame))
    for text in (
        "$C_$  2.75",
        "4 classes of toy",
        "2 shared seeds",
        "Friedman",
        "Nemenyi",
        "no claim about other datasets",
    ):
        assert text in svg
    entry = get_figure("critical-difference")
    assert "A 1.25, B 2.00" in entry.describe(frame)


def test_dark_colours_are_added_once_and_the_rest_stays():
    svg = '<svg width="1"><path style="fill: #ffffff"/></svg>'
    dark = add_dark_colours(svg)
    assert dark.replace(dark_style(), "") == svg
    assert add_dark_colours(dark) == dark
    from xml.etree import ElementTree

    ElementTree.parse(
        io.StringIO(add_dark_colours(as_svg(draw_critical_difference(ranks_frame(per_class(RESULTS), "x")))))
    )
