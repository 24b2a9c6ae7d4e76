"""Every format of one small table against files in tests/golden; MLTBENCH_WRITE_GOLDEN=1 writes them anew."""

import io
import json
import os
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


@pytest.fixture(scope="module")
def report(section):
    return Report(datasets=(DatasetReport(dataset="digits-mlt", sections=(section,)),), configurations=())


def same_as_golden(name, text):
    text = text.replace(__version__, "VERSION")
    if os.environ.get("MLTBENCH_WRITE_GOLDEN"):
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / name).write_text(text, encoding="utf-8")
    assert text == (FOLDER / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("table.md", lambda section: markdown(section.table)),
        ("table.tex", lambda section: latex(section.table)),
        ("table.csv", lambda section: comma_separated(section.table)),
        ("quoted.csv", lambda section: csv_text(quoted_frame(section.table))),
        ("pairs.csv", lambda section: csv_text(section.pairs)),
    ],
)
def test_files(name, write, section):
    same_as_golden(name, write(section))


@pytest.mark.parametrize("width", [80, 120, 160])
def test_terminal(width, section):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(terminal(section.table, width=width))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    same_as_golden(f"terminal-{width}.txt", "\n".join(lines) + "\n")


def test_json(report):
    text = results_json(report)
    assert json.loads(text)["tables"][0]["rows"][0]["results"]["total"]["mean"] == pytest.approx(51.0416666)
    same_as_golden("results.json", text)


def test_page(report):
    """The body alone: style and script have tests of their own, in a browser."""
    same_as_golden("body.html", render_page(report).partition("<body>")[2].partition("<script>")[0])
