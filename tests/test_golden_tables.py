"""Every format of one small table against files in tests/golden; MLTBENCH_WRITE_GOLDEN=1 writes them anew."""

import io
import json
import math
import os
from pathlib import Path

import pandas as pd
import pytest
from mltbench import __version__
from mltbench.reports.formats import comma_separated, latex, markdown, quoted_comma_separated
from mltbench.reports.page import render_page
from mltbench.reports.pairs import pairs_csv
from mltbench.reports.quoted import QuotedRow
from mltbench.reports.report import DatasetReport, Report, collect_sections
from mltbench.reports.results import COLUMNS, GROUPS
from mltbench.reports.results_json import results_json
from mltbench.reports.table import build_table
from mltbench.reports.terminal import terminal
from rich.console import Console

FOLDER = Path(__file__).parent / "golden"
MARKS = {
    ("erm", "ERM"): {0: (50, 80, 60, 30), 1: (51, 81, 61, 31), 2: (52.125, 82, 62, 32)},
    ("rs", "RS"): {0: (55, 79, 60.5, 40), 1: (55.5, 80, 61.5, 41), 2: (57, 80.5, 61, 43)},
    ("db", "DB"): {0: (56, 78, 60, 44), 1: (56, 79, 60, 43)},
    ("ldam", "LDAM"): {2: (51, 81, 60, 33)},
    ("mine", "Mine & <yours>"): {5: (40, 50, 45, 30)},
}


def small_runs():
    records = []
    for (method, title), seeds in MARKS.items():
        for seed, marks in seeds.items():
            labels = {"dataset": "digits-mlt", "method": method, "title": title, "overrides": "", "recipe": "digits"}
            ids = {"experiment_id": f"{method}-{seed}".ljust(16, "0"), "configuration_id": method.ljust(16, "0")}
            results = dict(zip(GROUPS, marks, strict=True))
            records.append({**labels, **ids, "seed": seed, "state": "finished", **results})
    overridden = {"overrides": "mu=0.2", "configuration_id": "f" * 16, "experiment_id": "e" * 16}
    records.append({**records[-2], "method": "db", "title": "DB", **overridden})
    failed = {"method": "rw", "title": "RW", "state": "failed", **dict.fromkeys(GROUPS, math.nan)}
    records.append({**records[0], "experiment_id": "f" * 16, "configuration_id": "d" * 16, **failed})
    return pd.DataFrame(records, columns=list(COLUMNS))


QUOTED = (
    QuotedRow(
        table=1, title="Asymmetric", dataset="digits-mlt", source="Somebody 2021, Table 3",
        values={"total": 61.5, "head": 80.0, "medium": None, "tail": None}, suspect="",
    ),
    QuotedRow(
        table=1, title="=HYPERLINK(1)", dataset="digits-mlt", source="Somebody else 2022",
        values={"total": 99.0, "head": 80.0, "medium": 60.0, "tail": 40.0}, suspect="total is too large",
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def table():
    return build_table(small_runs(), 1, "digits-mlt", quoted=QUOTED)


def same_as_golden(name, text):
    if os.environ.get("MLTBENCH_WRITE_GOLDEN"):
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / name).write_text(text, encoding="utf-8")
    assert text == (FOLDER / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("table.md", markdown),
        ("table.tex", latex),
        ("table.csv", comma_separated),
        ("quoted.csv", quoted_comma_separated),
    ],
)
def test_files(name, write, table):
    same_as_golden(name, write(table))


@pytest.mark.parametrize("width", [80, 120, 160])
def test_terminal(width, table):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(terminal(table, width=width))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    same_as_golden(f"terminal-{width}.txt", "\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def report():
    sections = collect_sections(small_runs(), "digits-mlt", [1], quoted=QUOTED)
    return Report(datasets=(DatasetReport(dataset="digits-mlt", sections=sections),), configurations=())


def test_pairs(report):
    same_as_golden("pairs.csv", pairs_csv(report.datasets[0].sections[0].pairs))


def test_json(report):
    text = results_json(report)
    assert json.loads(text)["tables"][0]["rows"][0]["results"]["total"]["mean"] == pytest.approx(51.0416666)
    same_as_golden("results.json", text.replace(__version__, "VERSION"))


def test_page(report):
    """The body alone: style and script have tests of their own, in a browser."""
    body = render_page(report).partition("<body>")[2].partition("<script>")[0]
    same_as_golden("body.html", body.replace(__version__, "VERSION"))
