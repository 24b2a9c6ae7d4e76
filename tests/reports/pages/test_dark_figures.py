from xml.etree import ElementTree

from mltbench.reports.figures.style import as_svg
from mltbench.reports.figures.weight_function import draw_weight_function, weight_function
from mltbench.reports.pages.web import add_dark_colours, dark_style


def test_dark_colours_are_added_once_and_the_rest_stays():
    svg = as_svg(draw_weight_function(weight_function()))
    dark = add_dark_colours(svg)
    assert dark.replace(dark_style(), "") == svg != dark
    assert add_dark_colours(dark) == dark
    assert ElementTree.fromstring(dark).tag.endswith("svg")
