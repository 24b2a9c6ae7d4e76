"""Texts that would break a format, in every format; LaTeX goes through LaTeX, where it is installed."""

import csv
import io
import re
import shutil
import subprocess

import pandas as pd
import pytest
from mltbench.benchmark.training.metrics import SCORE_NAMES
from mltbench.reports.figures.registry import Drawing, DrawnFigure
from mltbench.reports.pages.report import DatasetReport, Report, Section, render_page, write_report
from mltbench.reports.pages.web import content_policy, page_files
from mltbench.reports.results.rows import Protocol
from mltbench.reports.results.runs import VALIDATION
from mltbench.reports.tables.build import PAIR_COLUMNS, build_table
from mltbench.reports.tables.result_table import Cell, ResultTable, Row, comma_separated, latex, markdown
from mltbench.reports.tables.terminal import terminal
from rich.console import Console
from web_pages import ParsedPage

HOSTILE = ["<script>alert(1)</script>", "=1+1", "a|b", "a_b", "a & b", "100% #1 {x} ~^\\", "[bold]x[/bold]", "[/red]"]
HOSTILE_TO_LATEX = [r"\input{/etc/passwd}", r"\end{tabular}\relaxed", "a_b^c & 50% #1 {x} ~ $y$ \\",
                    'say "no" <b>|</b>', "[x] ± ≈ ×", "*"]  # fmt: skip
LATEX = (r"\textbackslash{}", r"\textasciitilde{}", r"\textasciicircum{}", "{[}", "{]}", "{*}", r"\textless{}",
         r"\textgreater{}", r"\textbar{}", "''", *(rf"\{c}" for c in "&%$#_{}"))  # fmt: skip
needs_latex = pytest.mark.skipif(
    shutil.which("pdflatex") is None or shutil.which("pdftotext") is None,
    reason="no pdflatex or pdftotext here; Debian has them in texlive-latex-base and poppler-utils",
)
DOCUMENT = r"""\documentclass{article}
%s
\usepackage{booktabs}
\begin{document}
%s
\end{document}
"""


def table_of(text, *, dataset="digits-mlt", notes=(), **changes):
    """A table with one row of this name."""
    cells = {name: Cell(mean=mean, deviation=None) for mean, name in enumerate(SCORE_NAMES, start=1)}
    values = {"method": "erm", "seeds": (0,), "missing": (), "failed": 0, "experiments": ("0123456789abcdef",)}
    row = Row(label=text, cells=cells, **{**values, **changes})
    return ResultTable(number=1, dataset=dataset, protocol=Protocol(recipe="digits"), rows=(row,), notes=notes)


def report_of(*tables, configurations=(), figures=()):
    pairs = pd.DataFrame(columns=list(PAIR_COLUMNS))
    sections = tuple(Section(table=table, pairs=pairs) for table in tables)
    dataset = DatasetReport(dataset=tables[0].dataset, sections=sections, drawing=Drawing(drawn=list(figures)))
    return Report(datasets=(dataset,), configurations=configurations)


def record_of(text):
    experiment = {
        "id": text, "seed": 0, "results": dict.fromkeys((*SCORE_NAMES, *VALIDATION), 5.0), "train_seconds": 1.0,
        "command": text, "run_id": text, "link": None, "started": "2026-01-01 00:00:00", "provenance": {"commit": text},
    }  # fmt: skip
    labels = {"id": text, "label": text, "dataset": text, "digests": {"dataset_digest": text}, "settings": {text: text}}
    return {**labels, "experiments": [experiment]}


def figure_named(text):
    return DrawnFigure(
        name="groups", title=text, caption=text, alternative_text=text, part="results", width=9, height=9
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_html_shows_hostile_texts_as_text(text):
    table = table_of(text, experiments=(text,), dataset=text, notes=(f"note {text}",))
    page = ParsedPage(render_page(report_of(table, configurations=(record_of(text),), figures=(figure_named(text),))))
    assert len(page.all("script")) == 1
    assert page.shown.count(text) >= 12  # title, headings, label, caption, note, summary, figure, record
    assert not any(name.startswith("on") for _, a in page.elements for name in a)


def test_files_of_hostile_dataset_names_stay_in_the_folder(tmp_path):
    report = report_of(table_of("ERM", dataset="../../x y/<b>"))
    write_report(report, tmp_path / "deep" / "report")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["report"]
    names = {path.name for path in (tmp_path / "deep" / "report").iterdir()}
    assert sum(name.startswith("table1-x-y--b") and name.endswith(".csv") for name in names) == 2
    folder = report.datasets[0].folder
    assert (folder.count("/"), ".." in folder) == (1, False)


def test_the_page_asks_no_network_and_runs_its_own_script_alone():
    table, script = table_of("ERM"), page_files()[1]
    text = render_page(report_of(table, table, figures=(figure_named("mAP"),)))
    page = ParsedPage(text)
    assert not {tag for tag, _ in page.elements} & {"link", "iframe", "object", "embed", "base", "svg"}
    addresses = [value for _, a in page.elements for name, value in a.items() if name in ("href", "src")]
    assert addresses
    assert not [address for address in addresses if ":" in address or address.startswith(("/", ".."))]
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == content_policy(script)
    assert f"<script>{script}</script>" in text
    assert "default-src 'none'" in policy


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_keeps_hostile_texts_in_their_cell(text):
    source = markdown(table_of(text, dataset=text))
    (line,) = [line for line in source.splitlines() if "0123456" in line]
    cells = line.replace("\\\\", "").replace(r"\|", "").strip("|").split("|")
    assert len(cells) == 8
    assert all(f"\\{c}" in cells[0] or c not in text for c in "_<>[]{}")
    assert "<script>" not in source


@pytest.mark.parametrize("text", HOSTILE)
def test_latex_keeps_hostile_texts_in_their_cell(text):
    source = latex(table_of(text, dataset=text, notes=(text,)))
    (line,) = [line for line in source.splitlines() if "0123456" in line]
    cell = line.partition(" & 1.00 &")[0]
    for known in LATEX:
        cell = cell.replace(known, "")
    assert not set(cell) & set("\\&%$#_{}~^")
    assert len(re.findall(r"(?<!\\)&", line)) == 5
    assert source.count(r"\end{tabular}") == 1


@pytest.mark.parametrize("write", [markdown, latex])
def test_a_row_stays_one_line(write):
    first, second = (write(table_of(text)) for text in ("a b", "a\nb"))
    assert second.count("\n") == first.count("\n")


@pytest.mark.parametrize("text", [*HOSTILE, "+1", "-1", "@SUM(A1)", "\t=1", "a,b", 'a"b', "a\nb"])
def test_csv_holds_hostile_texts_as_text(text):
    (record,) = csv.DictReader(io.StringIO(comma_separated(table_of(text, method=text, dataset=text))))
    for column in ("label", "method", "dataset"):
        assert record[column] in (text, f"'{text}")
        assert record[column][0] not in "=+-@\t\r"
    assert record["total_mean"] == "1"


@pytest.mark.parametrize("text", HOSTILE)
def test_the_terminal_shows_hostile_texts_as_text(text):
    console = Console(width=220, file=io.StringIO(), color_system=None)
    console.print(terminal(table_of(text)))
    assert text in console.file.getvalue()


def compiled(source, folder, encoding=r"\usepackage[T1]{fontenc}"):
    """The text of the page, and what LaTeX had to say."""
    (folder / "page.tex").write_text(DOCUMENT % (encoding, source), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "page.tex"]
    settings = {"cwd": folder, "capture_output": True, "text": True, "errors": "replace", "timeout": 100}
    done = subprocess.run(command, **settings)
    assert done.returncode == 0, done.stdout[-2000:]
    return subprocess.run(["pdftotext", "-layout", "page.pdf", "-"], **settings).stdout, done.stdout


@needs_latex
def test_a_table_compiles_fits_the_page_and_holds_its_numbers(small_runs, quoted_examples, tmp_path):
    text, log = compiled(latex(build_table(small_runs, 1, "digits-mlt", quoted=quoted_examples)), tmp_path)
    assert "Overfull" not in log
    for expected in ("56.00 ± 0.00", "51.04 ± 1.06", "61.00 ± 1.00≈", "Mine & <yours>", "=HYPERLINK(1) (b)",
                     "99.00 [1]", "RW (1)"):  # fmt: skip
        assert expected in text.replace("\u2009", " "), text


@needs_latex
@pytest.mark.parametrize("text", HOSTILE_TO_LATEX)
def test_latex_prints_hostile_names_as_they_are(text, tmp_path):
    shown, _ = compiled(latex(table_of(text, experiments=(text,), notes=(text,))), tmp_path)
    # The closing quotes of T1's bitmap fonts come back as their place in the font.
    squeezed = "".join(re.sub("[“”\x11]", '"', shown).split())
    assert squeezed.count("".join(text.split())) >= 2, shown


@needs_latex
def test_hostile_names_compile_without_any_package_for_fonts(tmp_path):
    table = ResultTable(
        number=1, dataset="x", protocol=Protocol(recipe="digits"), rows=(), notes=tuple(HOSTILE_TO_LATEX)
    )
    shown, _ = compiled(latex(table), tmp_path, encoding="")
    assert "say”no”<b>" in "".join(shown.split())
