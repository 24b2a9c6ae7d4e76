"""A table in every format: terminal, Markdown, LaTeX (booktabs), CSV, HTML."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from .results import GROUPS
from .table import ResultTable, Row

if TYPE_CHECKING:
    from rich.table import Table

LATEX_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip
SHORT_ID = 8
WIDTH_WITH_IDS = 105


def terminal(table: ResultTable, *, width: int = 120) -> Table:
    """For `rich`: the best of each column in bold; experiment ids where the terminal is wide enough for them."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    with_ids = width >= WIDTH_WITH_IDS + 9 * len(GROUPS) * table.has_quoted
    caption = _caption(table) + ("" if with_ids else "\nexperiment ids stand in the report's files")
    rich = Table(title=table.title, caption=caption, box=box.SIMPLE_HEAD, padding=0)
    rich.title_justify = rich.caption_justify = "left"
    rich.add_column("method", overflow="fold", min_width=11)
    for group in GROUPS:
        rich.add_column(group, justify="right", no_wrap=True)
        if table.has_quoted:
            rich.add_column("paper", justify="right", style="dim", no_wrap=True)
    rich.add_column("seeds", justify="right")
    if with_ids:
        rich.add_column("experiments", overflow="fold", style="dim")
    for row in table.rows:
        cells = [escape(row.label)]
        for group in GROUPS:
            cell = row.cells[group]
            cells.append(f"[bold]{cell.text}[/bold]" if cell.best else cell.text)
            cells += [_quoted_text(table, row, group)] * table.has_quoted
        rich.add_row(*cells, row.number, *([_short_ids(row)] if with_ids else []))
    return rich


def markdown(table: ResultTable) -> str:
    """A Markdown table with its caption and notes."""
    heads = ["method", *_group_heads(table), "seeds", "experiments"]
    lines = [f"**{_markdown_text(table.title)}**", "", "| " + " | ".join(heads) + " |"]
    lines.append("|" + "|".join([" --- ", *[" ---: "] * (len(heads) - 2), " --- "]) + "|")
    for row in table.rows:
        cells = _cells(table, row, bold=lambda text: f"**{text}**")
        ids = " ".join(f"`{name[:SHORT_ID]}`" for name in row.experiments)
        lines.append("| " + " | ".join([_markdown_text(row.label), *cells, row.number, ids]) + " |")
    return "\n".join([*lines, "", *_notes(table)]) + "\n"


def latex(table: ResultTable) -> str:
    """A LaTeX table for `booktabs`; experiment ids stand in comments behind the rows."""
    heads = [*_group_heads(table), "seeds"]
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_latex_text(table.title)}}}"]
    lines += [rf"\begin{{tabular}}{{l{'r' * len(heads)}}}", r"\toprule"]
    lines += ["method & " + " & ".join(heads) + r" \\", r"\midrule"]
    for row in table.rows:
        cells = [
            c.replace("±", r"$\pm$").replace("–", "--") for c in _cells(table, row, bold=lambda t: rf"\textbf{{{t}}}")
        ]
        line = " & ".join([_latex_text(row.label), *cells, _latex_text(row.number)])
        lines.append(rf"{line} \\" + (f" % {_short_ids(row)}" if row.experiments else ""))
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize {_latex_text(note)}" for note in _notes(table)]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def comma_separated(table: ResultTable) -> str:
    """CSV with unrounded numbers; a text that a spreadsheet would take for a formula gets a leading apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    quoted = [f"paper_{group}" for group in GROUPS] + ["paper_suspect"]
    spread = [f"{group}_{what}" for group in GROUPS for what in ("mean", "std")]
    writer.writerow(
        [
            "table",
            "dataset",
            "method",
            "label",
            *spread,
            "n",
            "seeds",
            "missing_seeds",
            "failed",
            "experiments",
            *quoted,
        ]
    )
    for row in table.rows:
        numbers = [value for group in GROUPS for value in (row.cells[group].mean, row.cells[group].deviation)]
        paper = [row.quoted.values[group] for group in GROUPS] + [row.quoted.suspect] if row.quoted else [""] * 5
        counts = [len(row.seeds), _joined(row.seeds), _joined(row.missing), row.failed, " ".join(row.experiments)]
        texts = [spreadsheet_text(text) for text in (table.dataset, row.method, row.label)]
        writer.writerow([table.number, *texts, *("" if n is None else repr(n) for n in numbers), *counts, *paper])
    return buffer.getvalue()


FORMATS: dict[str, Callable[[ResultTable], str]] = {"md": markdown, "tex": latex, "csv": comma_separated}


def _cells(table: ResultTable, row: Row, *, bold: Callable[[str], str]) -> list[str]:
    cells = []
    for group in GROUPS:
        cell = row.cells[group]
        cells.append(bold(cell.text) if cell.best else cell.text)
        cells += [_quoted_text(table, row, group)] * table.has_quoted
    return cells


def _group_heads(table: ResultTable) -> list[str]:
    return [head for group in GROUPS for head in ([group, "paper"] if table.has_quoted else [group])]


def _quoted_text(table: ResultTable, row: Row, group: str) -> str:
    if row.quoted is None:
        return "–"
    note = table.note_number(row)
    return f"{row.quoted.values[group]:.2f}" + (f" [{note}]" if note and group == "total" else "")


def _notes(table: ResultTable) -> list[str]:
    return [f"[{i}] {note}" for i, note in enumerate(table.notes, start=1)]


def _caption(table: ResultTable) -> str:
    return "\n".join(["mean ± sample standard deviation over seeds; best mean of each column in bold", *_notes(table)])


def _short_ids(row: Row) -> str:
    return " ".join(name[:SHORT_ID] for name in row.experiments)


def _joined(numbers: tuple[int, ...]) -> str:
    return " ".join(map(str, numbers))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|])", r"\\\1", _one_line(text))


def _latex_text(text: str) -> str:
    return "".join(LATEX_ESCAPES.get(character, character) for character in _one_line(text))


def spreadsheet_text(text: str) -> str:
    """A text as CSV holds it: one that a spreadsheet would take for a formula gets a leading apostrophe."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
