"""The report in a real browser: looked at, sorted, filtered, and checked by axe-core."""

import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe
from mltbench.benchmark.tracking.store import Store
from mltbench.reports.figures.groups import draw_groups, groups_frame
from mltbench.reports.figures.registry import Drawing, DrawnFigure, draw_figures, get_figure, write_data, write_figure
from mltbench.reports.figures.source import FigureSource, TrainingLabels
from mltbench.reports.pages.report import DatasetReport, Report, Section, shown_configurations, write_report
from mltbench.reports.pages.web import CARD, adapt_figures
from mltbench.reports.tables.build import build_table, pairs_frame
from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; Debian's package `chromium` has one")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
SIZES = {"desktop": (1280, 900), "telephone": (390, 844)}
# WCAG 2.1 AA, and what axe-core holds for good practice.
AXE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


@pytest.fixture(scope="module")
def address(small_runs, quoted_examples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    tables = [build_table(small_runs, number, "digits-mlt", quoted=quoted_examples) for number in (1, 2)]
    sections = tuple(Section(table=table, pairs=pairs_frame(table, small_runs)) for table in tables)
    frame = groups_frame(sections[0].table, small_runs)
    figure = DrawnFigure(
        name="groups", title="mAP by group", caption="Every seed.", alternative_text="DB is best.", part="results"
    )
    drawing = Drawing(drawn=[figure], without={"cost": "no run has its cost"})
    dataset = DatasetReport(dataset="digits-mlt", sections=sections, drawing=drawing)
    write_figure(draw_groups(frame), folder / dataset.folder / "groups")
    write_data(frame, folder / dataset.folder / "groups.csv")
    adapt_figures(folder / dataset.folder)
    store = Store(root=folder / "no-results", tracking_uri="sqlite:///nowhere.db")
    records = shown_configurations(store, small_runs, [dataset])
    return write_report(Report(datasets=(dataset,), configurations=records), folder).as_uri()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser, address):
    opened = open_page(browser, address)
    yield opened
    opened.close()


def open_page(browser, address, size="desktop", scheme="light", **settings):
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, **settings)
    page.troubles, page.requests = [], []
    page.on("console", lambda message: page.troubles.append(message.text))
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    page.on("request", lambda request: page.requests.append(request.url))
    page.goto(address)
    return page


def column(page, place, table="table.sortable >> nth=0"):
    cells = page.locator(table).locator(f"tbody tr:visible > :nth-child({place})").all_inner_texts()
    return [text.split("\n")[0] for text in cells]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_looks_well_and_is_accessible(size, scheme, browser, address, tmp_path):
    page = open_page(browser, address, size, scheme)
    page.locator("figure img").scroll_into_view_if_needed()
    page.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
    for fold in page.locator("details").all():
        fold.evaluate("(element) => { element.open = true; }")
    results = Axe().run(page, options=AXE)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    picture = page.screenshot(path=tmp_path / f"{size}-{scheme}.png", full_page=True)
    assert len(picture) > 20_000
    assert page.troubles == []
    assert {url.partition(":")[0] for url in page.requests} == {"file"}
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    lightness = sum(int(part) for part in background[4:-1].split(",")) / 3
    assert (lightness > 200) if scheme == "light" else (lightness < 60)
    page.close()


def test_figures_follow_a_dark_page(browser, address):
    shades = {}
    for scheme in ("light", "dark"):
        page = open_page(browser, address.replace("index.html", "figures/digits-mlt/groups.svg"), scheme=scheme)
        shades[scheme] = page.evaluate("getComputedStyle(document.querySelector('#patch_1 path')).fill")
        page.close()
    dark = tuple(int(CARD[i : i + 2], 16) for i in (1, 3, 5))
    assert shades == {"light": "rgb(255, 255, 255)", "dark": f"rgb{dark}"}


@pytest.mark.parametrize("name", ["class-distribution", "negative-gradient", "weight-function"])
def test_every_text_of_a_figure_is_bright_in_the_dark_formulas_too(browser, small_labels, tmp_path, name):
    training = TrainingLabels(labels=small_labels, classes=("a", "b", "c", "d"))
    draw_figures(FigureSource(dataset="x", labels=training), tmp_path, entries=[get_figure(name)])
    adapt_figures(tmp_path)
    page = open_page(browser, (tmp_path / f"{name}.svg").as_uri(), scheme="dark")
    colours = page.evaluate("[...document.querySelectorAll('text, tspan')].map((text) => getComputedStyle(text).fill)")
    page.close()
    assert len(colours) > 5
    assert all(min(map(int, colour[4:-1].split(","))) > 128 for colour in colours), colours


def test_a_click_sorts_numbers_largest_first_and_missing_ones_last(page):
    head = page.locator("table.sortable >> nth=0").get_by_role("columnheader", name="total")
    assert head.get_attribute("aria-sort") is None
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    measured = ["56.00 ± 0.00", "55.83 ± 1.04", "51.04 ± 1.06", "51.00", "51.00", "40.00"]
    assert column(page, 2) == measured + ["–"] * 8
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(page, 2) == measured[::-1] + ["–"] * 8
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


def test_typing_filters_rows_and_says_how_many_are_left(page):
    page.get_by_label("Find a method").first.fill("focal")
    assert column(page, 1) == ["Focal", "RS-Focal", "CB-Focal", "R-BCE-Focal", "DB-Focal"]
    assert page.locator(".filters output").first.inner_text() == "5 of 14 rows"
    page.get_by_label("Find a method").first.fill("")
    assert len(column(page, 1)) == 14


def test_a_number_leads_to_its_experiment(page):
    page.locator("table.sortable >> nth=0").get_by_role("link", name="55.83").click()
    fold = page.locator("#c-rs00000000000000")
    assert fold.get_attribute("open") is not None
    for text in ("rs-0000000000000", "recipe.learning_rate", "mltbench run --method erm", "dataset_digest"):
        assert text in fold.inner_text()
    page.get_by_role("link", name="erm-1000").click()
    assert page.locator("#c-erm0000000000000").get_attribute("open") is not None


def test_without_scripts_the_page_reads_the_same(browser, address):
    page = open_page(browser, address, java_script_enabled=False)
    assert page.get_by_role("button").count() == 0
    assert page.get_by_role("row", name="DB").first.is_visible()
    page.close()


def test_it_prints_on_white(page):
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("nav").is_hidden()
    assert page.pdf(format="A4")[:5] == b"%PDF-"
