import csv
import io
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from mltbench.reports.figures.groups import draw_groups, groups_frame
from mltbench.reports.figures.style import as_svg
from mltbench.reports.formats import comma_separated, latex, markdown, terminal
from mltbench.reports.page import Section, render_page
from mltbench.reports.quoted import QuotedRow
from mltbench.reports.results import COLUMNS, GROUPS
from mltbench.reports.table import Cell, ResultTable, Row
from rich.console import Console

HOSTILE = ["<script>alert(1)</script>", "=1+1", "a|b", "a_b", "a & b", "100% #1 {x} ~^\\", "[bold]x[/bold]", "[/red]"]


def row(label, means, *, best=(), deviations=(None,) * 4, quoted=None, **changes):
    numbers = zip(GROUPS, means, deviations, strict=True)
    cells = {group: Cell(mean=mean, deviation=deviation, best=group in best) for group, mean, deviation in numbers}
    values = {"method": "erm", "seeds": (0,), "missing": (), "failed": 0, "experiments": ("0123456789abcdef",)}
    return Row(label=label, cells=cells, quoted=quoted, **{**values, **changes})


def table_of(*rows, dataset="digits-mlt", notes=()):
    return ResultTable(number=1, dataset=dataset, rows=rows, notes=notes)


QUOTED = QuotedRow(
    table=1, title="LDAM", dataset="voc-mlt",
    values={"total": 70.73, "head": 68.7, "medium": 80.38, "tail": 69.09}, suspect="total is odd",
)  # fmt: skip
SMALL = table_of(
    row("ERM", (50.125, 60, 50, 40.5), best=("total", "tail"), deviations=(1.5, 0.25, 0, 2), seeds=(0, 2), missing=(1,),
        experiments=("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb")),
    row("RS", (None,) * 4, method="rs", seeds=(), missing=(0, 1, 2), failed=1, experiments=()),
    row("DB (mu=0.2)", (9, 8, 7, 6), method="db"),
)  # fmt: skip
LDAM = row("LDAM", (50, 60, 50, 40), best=GROUPS, method="ldam", quoted=QUOTED)
WITH_PAPER = table_of(LDAM, dataset="voc-mlt", notes=("LDAM, quoted: total is odd",))

SMALL_MARKDOWN = """\
**Table 1: mAP on digits-mlt (test split, percent, last epoch)**

| method | total | head | medium | tail | seeds | experiments |
| --- | ---: | ---: | ---: | ---: | ---: | --- |
| ERM | **50.12 ± 1.50** | 60.00 ± 0.25 | 50.00 ± 0.00 | **40.50 ± 2.00** | 2 of 3 | `aaaaaaaa` `bbbbbbbb` |
| RS | – | – | – | – | 0 of 3, 1 failed |  |
| DB (mu=0.2) | 9.00 | 8.00 | 7.00 | 6.00 | 1 | `01234567` |

"""

SMALL_LATEX = r"""\begin{table}
\centering
\caption{Table 1: mAP on digits-mlt (test split, percent, last epoch)}
\begin{tabular}{lrrrrr}
\toprule
method & total & head & medium & tail & seeds \\
\midrule
ERM & \textbf{50.12 $\pm$ 1.50} & 60.00 $\pm$ 0.25 & 50.00 $\pm$ 0.00 & \textbf{40.50 $\pm$ 2.00} & 2 of 3 \\ % aaaaaaaa bbbbbbbb
RS & -- & -- & -- & -- & 0 of 3, 1 failed \\
DB (mu=0.2) & 9.00 & 8.00 & 7.00 & 6.00 & 1 \\ % 01234567
\bottomrule
\end{tabular}
\end{table}
"""  # noqa: E501

SMALL_CSV = """\
table,dataset,method,label,total_mean,total_std,head_mean,head_std,medium_mean,medium_std,tail_mean,tail_std,n,seeds,\
missing_seeds,failed,experiments,paper_total,paper_head,paper_medium,paper_tail,paper_suspect
1,digits-mlt,erm,ERM,50.125,1.5,60,0.25,50,0,40.5,2,2,0 2,1,0,aaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbb,,,,,
1,digits-mlt,rs,RS,,,,,,,,,0,,0 1 2,1,,,,,,
1,digits-mlt,db,DB (mu=0.2),9,,8,,7,,6,,1,0,,0,0123456789abcdef,,,,,
"""


def test_a_small_table_in_every_format_is_as_written_here():
    assert markdown(SMALL) == SMALL_MARKDOWN
    assert latex(SMALL) == SMALL_LATEX
    assert comma_separated(SMALL) == SMALL_CSV


def test_quoted_columns_and_notes_in_every_format():
    line = (
        "| LDAM | **50.00** | 70.73 [1] | **60.00** | 68.70 | **50.00** | 80.38 | **40.00** | 69.09 | 1 | `01234567` |"
    )
    assert line in markdown(WITH_PAPER).splitlines()
    assert "[1] LDAM, quoted: total is odd" in markdown(WITH_PAPER).splitlines()
    assert r"\par\footnotesize [1] LDAM, quoted: total is odd" in latex(WITH_PAPER).splitlines()
    assert r"LDAM & \textbf{50.00} & 70.73 [1] & \textbf{60.00}" in latex(WITH_PAPER)
    (record,) = csv.DictReader(io.StringIO(comma_separated(WITH_PAPER)))
    assert (record["paper_total"], record["paper_head"], record["paper_suspect"]) == ("70.73", "68.7", "total is odd")
    assert "70.73 [1]" in in_terminal(WITH_PAPER)
    assert "<sup>[1]</sup>" in render_page([Section(table=WITH_PAPER, figure=None)])


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
    page = Page(render_page([Section(table=table, figure=None)]))
    assert "script" not in [tag for tag, _ in page.elements]
    assert page.shown.count(text) >= 4  # label, note, heading, caption
    assert not any(name.startswith("on") for _, a in page.elements for name in a)


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "a_b & c", "]]>-->"])
def test_figures_show_hostile_texts_as_text(text):
    assert text in Page(figure_of(text)).shown
    assert "script" not in [tag for tag, _ in Page(figure_of(text)).elements]


def test_figures_show_dollars_as_dollars():
    assert "$x_$" in Page(figure_of("$x_$")).shown


def figure_of(label):
    runs = pd.DataFrame([{"experiment_id": "0123456789abcdef", **dict.fromkeys(GROUPS, 5.0)}], columns=list(COLUMNS))
    return as_svg(draw_groups(groups_frame(table_of(row(label, (1, 2, 3, 4))), runs)))


def test_the_page_asks_no_network_and_runs_nothing():
    page = Page(render_page([Section(table=SMALL, figure=figure_of("ERM")), Section(table=WITH_PAPER, figure=None)]))
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "img", "object", "embed", "base"}
    assert not [a for _, a in page.elements if {"src", "srcset", "action"} & set(a)]
    links = [value for _, a in page.elements for name, value in a.items() if name.endswith("href")]
    assert all(value.startswith("#") for value in links)
    assert [tag for tag, _ in page.elements].count("svg") == 1


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_keeps_hostile_texts_in_their_cell(text):
    lines = markdown(table_of(row(text, (1, 2, 3, 4)))).splitlines()
    (line,) = [line for line in lines if "0123456" in line]
    cells = line.replace("\\\\", "").replace(r"\|", "").strip("|").split("|")
    assert len(cells) == 7
    assert all(f"\\{c}" in cells[0] or c not in text for c in "_<>[]{}")


def test_markdown_titles_are_escaped():
    assert "<script>" not in markdown(table_of(row("ERM", (1, 2, 3, 4)), dataset="<script>alert(1)</script>"))


@pytest.mark.parametrize("text", HOSTILE)
def test_latex_keeps_hostile_texts_in_their_cell(text):
    source = latex(table_of(row(text, (1, 2, 3, 4)), dataset=text, notes=(text,)))
    (line,) = [line for line in source.splitlines() if "0123456" in line]
    cell = line.partition(" & 1.00 &")[0]
    for known in (r"\textbackslash{}", r"\textasciitilde{}", r"\textasciicircum{}", *(rf"\{c}" for c in "&%$#_{}")):
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
