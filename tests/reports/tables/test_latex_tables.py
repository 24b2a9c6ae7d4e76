"""LaTeX tables go through LaTeX, where it is installed, and everything that they hold is on the page."""

import re
import shutil
import subprocess

import pytest
from mltbench.reports.tables.build import build_table
from mltbench.reports.tables.result_table import Cell, ResultTable, Row, latex

pytestmark = pytest.mark.skipif(
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


def compiled(source, folder, encoding=r"\usepackage[T1]{fontenc}"):
    (folder / "page.tex").write_text(DOCUMENT % (encoding, source), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "page.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=100)
    assert done.returncode == 0, done.stdout[-2000:]
    text = subprocess.run(
        ["pdftotext", "-layout", "page.pdf", "-"], cwd=folder, capture_output=True, text=True, timeout=60
    )
    return text.stdout, done.stdout


def test_a_table_compiles_fits_the_page_and_holds_its_numbers(small_runs, quoted_examples, tmp_path):
    table = build_table(small_runs, 1, "digits-mlt", quoted=quoted_examples)
    text, log = compiled(latex(table), tmp_path)
    assert "Overfull" not in log
    text = text.replace("\u2009", " ")
    for expected in (
        "56.00 ± 0.00",
        "51.04 ± 1.06",
        "55.83 ± 1.04≈",
        "Mine & <yours>",
        "=HYPERLINK(1) (b)",
        "99.00 [1]",
        "RW (1)",
    ):
        assert expected in text, text


HOSTILE = [
    r"\input{/etc/passwd}",
    r"\end{tabular}\relaxed",
    "a_b^c & 50% #1 {x} ~ $y$ \\",
    'say "no" <b>|</b>',
    "[x] ± ≈ ×",
    "*",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_printed_as_they_are(text, tmp_path):
    cells = dict.fromkeys(("total", "head", "medium", "tail"), Cell(mean=50.0, deviation=None, n=1))
    row = Row(label=text, method="m", cells=cells, seeds=(0,), missing=(), failed=0, experiments=(text,))
    shown, _ = compiled(latex(ResultTable(number=1, dataset="x", rows=(row,), notes=(text,))), tmp_path)
    # The closing quotes of T1's bitmap fonts come back as their place in the font.
    squeezed = "".join(re.sub("[“”\x11]", '"', shown).split())
    assert squeezed.count("".join(text.split())) >= 2, shown


def test_hostile_names_compile_without_any_package_for_fonts(tmp_path):
    table = ResultTable(number=1, dataset="x", rows=(), notes=tuple(HOSTILE))
    shown, _ = compiled(latex(table), tmp_path, encoding="")
    assert "say ”no” ¡b¿" not in shown
    assert "say”no”<b>" in "".join(shown.split())
