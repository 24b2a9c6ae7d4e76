import csv
import io
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from mltbench.benchmark.training.metrics import SCORE_NAMES
from mltbench.reports.figures.groups import draw_groups, groups_frame
from mltbench.reports.figures.registry import Drawing, DrawnFigure
from mltbench.reports.figures.style import as_svg
from mltbench.reports.pages.report import DatasetReport, Report, Section, render_page
from mltbench.reports.pages.web import content_policy, page_files
from mltbench.reports.results.runs import COLUMNS, VALIDATION
from mltbench.reports.tables.build import PAIR_COLUMNS
from mltbench.reports.tables.result_table import Cell, ResultTable, Row, comma_separated, latex, markdown
from mltbench.reports.tables.terminal import terminal
from rich.console import Console

HOSTILE = ["<script>alert(1)</script>", "=1+1", "a|b", "a_b", "a & b", "100% #1 {x} ~^\\", "[bold]x[/bold]", "[/red]"]


def row(label, means, *, best=(), deviations=(None,) * 4, **changes):
    numbers = zip(SCORE_NAMES, means, deviations, strict=True)
    cells = {group: Cell(mean=mean, deviation=deviation, best=group in best) for group, mean, deviation in numbers}
    values = {"method": "erm", "seeds": (0,), "missing": (), "failed": 0, "experiments": ("0123456789abcdef",)}
    return Row(label=label, cells=cells, **{**values, **changes})


def table_of(*rows, dataset="digits-mlt", notes=(), quoted=()):
    return ResultTable(number=1, dataset=dataset, rows=rows, notes=notes, quoted=quoted)


SMALL = table_of(row("ERM", (50.125, 60, 50, 40.5), best=("total", "tail"), deviations=(1.5, 0.25, 0, 2)))


def page_of(*tables, configurations=(), figures=()):
    pairs = pd.DataFrame(columns=list(PAIR_COLUMNS))
    sections = tuple(Section(table=table, pairs=pairs) for table in tables)
    dataset = DatasetReport(dataset=tables[0].dataset, sections=sections, drawing=Drawing(drawn=list(figures)))
    return render_page(Report(datasets=(dataset,), configurations=configurations))


def in_terminal(table):
    console = Console(width=220, file=io.StringIO(), color_system=None)
    console.print(terminal(table))
    return console.file.getvalue()


class Page(HTMLParser):
    """What a browser sees: elements with their attributes, and text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.shown = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, text):
        self.shown += text


@pytest.mark.parametrize("text", HOSTILE)
def test_html_shows_hostile_texts_as_text(text):
    table = table_of(row(text, (1, 2, 3, 4), experiments=(text,)), dataset=text, notes=(f"note {text}",))
    page = Page(page_of(table, configurations=(record_of(text),), figures=(figure_named(text),)))
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert page.shown.count(text) >= 12  # title, headings, label, caption, note, summary, figure, record
    assert not any(name.startswith("on") for _, a in page.elements for name in a)


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "a_b & c", "]]>-->"])
def test_figures_show_hostile_texts_as_text(text):
    assert text in Page(figure_of(text)).shown
    assert "script" not in [tag for tag, _ in Page(figure_of(text)).elements]


def test_figures_show_dollars_as_dollars():
    assert "$x_$" in Page(figure_of("$x_$")).shown


def figure_of(label):
    runs = pd.DataFrame(
        [{"experiment_id": "0123456789abcdef", **dict.fromkeys(SCORE_NAMES, 5.0)}], columns=list(COLUMNS)
    )
    return as_svg(draw_groups(groups_frame(table_of(row(label, (1, 2, 3, 4))), runs)))


def record_of(text):
    experiment = {
        "id": text, "seed": 0, "results": dict.fromkeys((*SCORE_NAMES, *VALIDATION), 5.0), "train_seconds": 1.0,
        "command": text, "run_id": text, "link": None, "started": "2026-01-01 00:00:00", "provenance": {"commit": text},
    }  # fmt: skip
    labels = {"id": text, "label": text, "dataset": text, "digests": {"dataset_digest": text}, "settings": {text: text}}
    return {**labels, "experiments": [experiment]}


def figure_named(text):
    return DrawnFigure(name="groups", title=text, caption=text, alternative_text=text, part="results")


def test_the_page_asks_no_network_and_runs_its_own_script_alone():
    text = page_of(SMALL, SMALL, figures=(figure_named("mAP"),))
    page = Page(text)
    assert not {tag for tag, _ in page.elements} & {"link", "iframe", "object", "embed", "base", "svg"}
    addresses = [value for _, a in page.elements for name, value in a.items() if name in ("href", "src")]
    assert addresses
    assert not [address for address in addresses if ":" in address or address.startswith(("/", ".."))]
    (policy,) = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == content_policy(page_files()[1])
    assert f"<script>{page_files()[1]}</script>" in text
    assert "default-src 'none'" in policy


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_keeps_hostile_texts_in_their_cell(text):
    lines = markdown(table_of(row(text, (1, 2, 3, 4)))).splitlines()
    (line,) = [line for line in lines if "0123456" in line]
    cells = line.replace("\\\\", "").replace(r"\|", "").strip("|").split("|")
    assert len(cells) == 8
    assert all(f"\\{c}" in cells[0] or c not in text for c in "_<>[]{}")


def test_markdown_titles_are_escaped():
    assert "<script>" not in markdown(table_of(row("ERM", (1, 2, 3, 4)), dataset="<script>alert(1)</script>"))


OTHERS = ("{[}", "{]}", "{*}", r"\textless{}", r"\textgreater{}", r"\textbar{}", "''")


@pytest.mark.parametrize("text", HOSTILE)
def test_latex_keeps_hostile_texts_in_their_cell(text):
    source = latex(table_of(row(text, (1, 2, 3, 4)), dataset=text, notes=(text,)))
    (line,) = [line for line in source.splitlines() if "0123456" in line]
    cell = line.partition(" & 1.00 &")[0]
    for known in (
        r"\textbackslash{}",
        r"\textasciitilde{}",
        r"\textasciicircum{}",
        *(rf"\{c}" for c in "&%$#_{}"),
        *OTHERS,
    ):
        cell = cell.replace(known, "")
    assert not set(cell) & set("\\&%$#_{}~^")
    assert len(re.findall(r"(?<!\\)&", line)) == 5
    assert source.count(r"\end{tabular}") == 1


@pytest.mark.parametrize("write", [markdown, latex])
def test_a_row_stays_one_line(write):
    first, second = (write(table_of(row(text, (1, 2, 3, 4)))) for text in ("a b", "a\nb"))
    assert second.count("\n") == first.count("\n")


@pytest.mark.parametrize("text", [*HOSTILE, "+1", "-1", "@SUM(A1)", "\t=1", "a,b", 'a"b', "a\nb"])
def test_csv_holds_hostile_texts_as_text(text):
    table = table_of(row(text, (1, 2, 3, 4), method=text), dataset=text)
    (record,) = csv.DictReader(io.StringIO(comma_separated(table)))
    for column in ("label", "method", "dataset"):
        assert record[column] in (text, f"'{text}")
        assert record[column][0] not in "=+-@\t\r"
    assert record["total_mean"] == "1"


@pytest.mark.parametrize("text", HOSTILE)
def test_the_terminal_shows_hostile_texts_as_text(text):
    assert text in in_terminal(table_of(row(text, (1, 2, 3, 4))))
