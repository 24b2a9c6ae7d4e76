"""The report in a real browser: sorted, filtered, printed, and checked by axe-core; dark figures on a dark page."""

from xml.etree import ElementTree

import pytest
from mltbench.benchmark.tracking.store import Store
from mltbench.reports.figures.groups import draw_groups, groups_frame
from mltbench.reports.figures.registry import Drawing, DrawnFigure, draw_figures, get_figure, write_data, write_figure
from mltbench.reports.figures.source import FigureSource
from mltbench.reports.figures.style import as_svg
from mltbench.reports.figures.weight_function import draw_weight_function, weight_function
from mltbench.reports.pages.report import DatasetReport, Report, Section, shown_configurations, write_report
from mltbench.reports.pages.web import CARD, adapt_figures, add_dark_colours, dark_style
from mltbench.reports.tables.build import build_table, pairs_frame
from web_pages import assert_accessible_and_no_wider_than_the_screen


@pytest.fixture(scope="module")
def address(small_runs, quoted_examples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    tables = [build_table(small_runs, number, "digits-mlt", quoted=quoted_examples) for number in (1, 2)]
    sections = tuple(Section(table=table, pairs=pairs_frame(table, small_runs)) for table in tables)
    frame = groups_frame(sections[0].table, small_runs)
    figure = DrawnFigure(
        name="groups",
        title="mAP by group",
        caption="Every seed.",
        alternative_text="DB is best.",
        part="results",
        width=662,
        height=400,
    )
    drawing = Drawing(drawn=[figure], without={"cost": "no run has its cost"})
    dataset = DatasetReport(dataset="digits-mlt", sections=sections, drawing=drawing)
    write_figure(draw_groups(frame), folder / dataset.folder / "groups")
    write_data(frame, folder / dataset.folder / "groups.csv")
    adapt_figures(folder / dataset.folder)
    store = Store(root=folder / "no-results", tracking_uri="sqlite:///nowhere.db")
    records = shown_configurations(store, small_runs, [dataset])
    return write_report(Report(datasets=(dataset,), configurations=records), folder).as_uri()


@pytest.fixture
def page(open_page, address):
    return open_page(address)


def column(page, place):
    """Texts of one column of the first table's visible rows."""
    cells = page.locator("table.sortable").first.locator(f"tbody tr:visible > :nth-child({place})")
    return [text.split("\n")[0] for text in cells.all_inner_texts()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_accessible_and_fits_the_screen(width, scheme, open_page, address):
    page = open_page(address, width=width, scheme=scheme)
    page.locator("figure img").scroll_into_view_if_needed()
    page.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
    for fold in page.locator("details").all():
        fold.evaluate("(element) => { element.open = true; }")
    assert_accessible_and_no_wider_than_the_screen(page)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    lightness = sum(int(part) for part in background[4:-1].split(",")) / 3
    assert (lightness > 200) if scheme == "light" else (lightness < 60)


@pytest.mark.parametrize("name", ["class-distribution", "negative-gradient", "weight-function"])
def test_a_figure_follows_a_dark_page_with_every_text_and_formula(open_page, small_labels, tmp_path, name):
    training = (small_labels, ("a", "b", "c", "d"))
    draw_figures(FigureSource(dataset="x", labels=training), tmp_path, entries=[get_figure(name)])
    adapt_figures(tmp_path)
    for scheme, colour in (("light", "#ffffff"), ("dark", CARD)):
        page = open_page((tmp_path / f"{name}.svg").as_uri(), scheme=scheme)
        fill = page.evaluate("getComputedStyle(document.querySelector('#patch_1 path')).fill")
        assert fill == f"rgb{tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))}"
    colours = page.evaluate("[...document.querySelectorAll('text, tspan')].map((text) => getComputedStyle(text).fill)")
    assert len(colours) > 5
    assert all(min(map(int, colour[4:-1].split(","))) > 128 for colour in colours), colours


def test_dark_colours_are_added_once_and_the_rest_stays():
    svg = as_svg(draw_weight_function(weight_function()))
    dark = add_dark_colours(svg)
    assert dark.replace(dark_style(), "") == svg != dark
    assert add_dark_colours(dark) == dark
    assert ElementTree.fromstring(dark).tag.endswith("svg")


def test_a_click_sorts_numbers_largest_first_and_missing_ones_last(page):
    head = page.locator("table.sortable >> nth=0").get_by_role("columnheader", name="total")
    page.locator("table.sortable >> nth=0").get_by_role("button", name="method").click()
    assert head.get_attribute("aria-sort") is None
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    measured = ["56.00 ± 0.00", "55.83 ± 1.04", "51.04 ± 1.06", "51.00"]
    assert column(page, 2) == [*measured, "–"]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(page, 2) == [*measured[::-1], "–"]
    assert page.locator("table.sortable >> nth=0").locator("[aria-sort]").count() == 1


def test_the_keyboard_alone_sorts(page):
    button = page.locator("table.sortable >> nth=0").get_by_role("button", name="method")
    for _ in range(60):
        page.keyboard.press("Tab")
        if button.evaluate("(element) => element === document.activeElement"):
            break
    else:
        pytest.fail("Tab does not reach the button of a column")
    page.keyboard.press("Enter")
    names = column(page, 1)
    assert names == sorted(names, key=str.lower)
    page.keyboard.press("Space")
    assert column(page, 1) == names[::-1]


def test_a_number_leads_to_its_experiment(page):
    page.locator("table.sortable >> nth=0").get_by_role("link", name="55.83").click()
    fold = page.locator("#c-rs00000000000000")
    assert fold.get_attribute("open") is not None
    for text in ("rs-0000000000000", "recipe.learning_rate", "mltbench run --method erm", "dataset_digest"):
        assert text in fold.inner_text()
    page.get_by_role("link", name="erm-1000").click()
    assert page.locator("#c-erm0000000000000").get_attribute("open") is not None


def test_links_land_where_they_lead_whatever_pictures_lie_between(open_page, address):
    page = open_page(f"{address}#c-rs00000000000000")
    page.wait_for_load_state("load")
    for name, target in (("55.83", "#c-rs00000000000000"), ("erm-1000", "#e-erm-100000000000")):
        page.evaluate("scrollTo(0, 0)")
        page.locator("table.sortable >> nth=0").get_by_role("link", name=name).click()
        page.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
        assert 0 <= page.locator(target).bounding_box()["y"] < 450
    # Room is kept for every picture before it is there.
    pictures = page.locator("img").all()
    assert [(one.get_attribute("width"), one.get_attribute("height")) for one in pictures] == [("828", "500")]
    assert pictures[0].get_attribute("loading") is None


def test_without_scripts_the_page_reads_the_same(open_page, address):
    page = open_page(address, java_script_enabled=False)
    assert page.get_by_role("button").count() == 0
    assert page.get_by_role("row", name="DB").first.is_visible()


def test_it_prints_on_white(page):
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("nav").is_hidden()
    assert page.pdf(format="A4")[:5] == b"%PDF-"
