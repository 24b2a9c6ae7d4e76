"""Every format of one small table against files in tests/golden; MLTBENCH_WRITE_GOLDEN=1 writes them anew."""

import io
import os
from functools import partial
from pathlib import Path

import pytest
from mltbench import __version__
from mltbench.reports.pages.report import DatasetReport, Report, Section, render_page, results_json
from mltbench.reports.tables.build import build_table, pairs_frame
from mltbench.reports.tables.result_table import comma_separated, csv_text, latex, markdown, quoted_frame
from mltbench.reports.tables.terminal import terminal
from rich.console import Console

FOLDER = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def section(small_runs, quoted_examples):
    table = build_table(small_runs, 1, "digits-mlt", quoted=quoted_examples)
    return Section(table=table, pairs=pairs_frame(table, small_runs))


def report_of(section):
    return Report(datasets=(DatasetReport(dataset="digits-mlt", sections=(section,)),), configurations=())


def body(section):
    """Style and script have tests of their own, in a browser."""
    return render_page(report_of(section)).partition("<body>")[2].partition("<script>")[0]


def in_terminal(section, width):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(terminal(section.table, width=width))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("table.md", lambda section: markdown(section.table)),
        ("table.tex", lambda section: latex(section.table)),
        ("table.csv", lambda section: comma_separated(section.table)),
        ("quoted.csv", lambda section: csv_text(quoted_frame(section.table))),
        ("pairs.csv", lambda section: csv_text(section.pairs)),
        ("results.json", lambda section: results_json(report_of(section))),
        ("body.html", body),
        *((f"terminal-{width}.txt", partial(in_terminal, width=width)) for width in (80, 120, 160)),
    ],
)
def test_every_format_is_as_recorded(name, write, section):
    text = write(section).replace(__version__, "VERSION")
    if os.environ.get("MLTBENCH_WRITE_GOLDEN"):
        (FOLDER / name).write_text(text, encoding="utf-8")
    assert text == (FOLDER / name).read_text(encoding="utf-8")
