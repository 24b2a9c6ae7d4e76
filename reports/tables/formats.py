"""A table as Markdown, LaTeX (booktabs) and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence

from ..results.quoted import QuotedRow
from ..results.results import GROUPS
from .rows import NOISE_MARK, Cell, ResultTable, Row

LATEX_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    # A row that begins with a bracket or a star would else be an argument of the line break before it.
    "[": "{[}", "]": "{]}", "*": "{*}",
    # LaTeX's own straight quote needs the T1 encoding, which not every document has.
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "±": r"$\pm$", "≈": r"$\approx$", "–": "--", "×": r"$\times$",
}  # fmt: skip
SHORT_ID = 8
STANDING = "total, against the best"
MEASURED = "Mean ± sample standard deviation over seeds, last epoch; the best mean of each column is bold."
NOISE = (
    "the 95 % confidence interval of the paired difference over shared seeds (Student's t) holds zero. Intervals are "
    "not corrected for the number of comparisons, and few seeds make them wide: not told apart is not equal."
)
QUOTED_HEADS = ("method", *GROUPS, "source")


def legend(table: ResultTable, *, noise: str = f"{NOISE_MARK} is within noise of the best") -> list[str]:
    """How to read the table, in sentences; what noise means only where several seeds were measured."""
    compared = any(cell.behind and cell.behind.n > 1 for row in table.rows for cell in row.cells.values())
    return [MEASURED, f"{noise}: {NOISE}"] if compared else [MEASURED]


def numbered_notes(table: ResultTable) -> list[str]:
    """The notes with their numbers."""
    return [f"[{i}] {note}" for i, note in enumerate(table.notes, start=1)]


def sources(table: ResultTable) -> dict[str, str]:
    """Letter of each source of the quoted rows."""
    return {source: _letter(i) for i, source in enumerate(dict.fromkeys(row.source for row in table.quoted))}


def quoted_notes(table: ResultTable) -> list[str]:
    """The sources with their letters."""
    return [f"({letter}) {source}" for source, letter in sources(table).items()]


def quoted_cells(table: ResultTable, quoted: QuotedRow) -> list[str]:
    """Method, numbers and the source's letter of a quoted row; a suspect total has the number of its note."""
    note = table.note_number(quoted)
    numbers = [quoted.text(group) + (f" [{note}]" if note and group == "total" else "") for group in GROUPS]
    return [quoted.title, *numbers, f"({sources(table)[quoted.source]})"]


def short_ids(row: Row) -> list[str]:
    """The beginnings of a row's experiment ids."""
    return [name[:SHORT_ID] for name in row.experiments]


def markdown(table: ResultTable) -> str:
    """A Markdown table with its caption and notes, and one of the quoted rows."""
    rows = []
    for row in table.rows:
        standing = row.cells["total"].standing
        ids = " ".join(f"`{name}`" for name in short_ids(row))
        cells = _cells(row, bold=lambda text: f"**{text}**")
        rows.append([markdown_text(row.label), *cells, standing, row.number, ids])
    heads = ["method", *GROUPS, STANDING, "seeds", "experiments"]
    lines = [f"**{markdown_text(table.title)}**", "", *_markdown_table(heads, rows, text_from=5), ""]
    lines += [f"- {sentence}" for sentence in legend(table)] + [""]
    if table.quoted:
        quoted = [[markdown_text(cell) for cell in quoted_cells(table, row)] for row in table.quoted]
        lines += [
            f"**{markdown_text(table.quoted_title)}**",
            "",
            *_markdown_table(QUOTED_HEADS, quoted, text_from=5),
            "",
        ]
    lines += [f"- {markdown_text(note)}" for note in (*quoted_notes(table), *numbered_notes(table))]
    return "\n".join(lines).rstrip() + "\n"


def latex(table: ResultTable) -> str:
    """A LaTeX table for `booktabs`; experiment ids stand in comments behind the rows."""
    heads = [*GROUPS, "seeds"]
    lines = [r"% \usepackage{booktabs}", r"\begin{table}", r"\centering", r"\footnotesize"]
    lines += [rf"\caption{{{latex_text(table.untitled)}}}", rf"\label{{tab:{table.number}-{_label(table.dataset)}}}"]
    lines += [r"\setlength{\tabcolsep}{3.5pt}", rf"\begin{{tabular}}{{@{{}}l{'r' * len(heads)}@{{}}}}", r"\toprule"]
    lines += ["method & " + " & ".join(heads) + r" \\", r"\midrule"]
    for row in table.rows:
        cells = [_latex_cell(cell) for cell in _in_order(row)]
        line = " & ".join([latex_text(row.label), *cells, row.seeds_of])
        lines.append(rf"{line} \\" + (f" % {_one_line(' '.join(short_ids(row)))}" if row.experiments else ""))
    if table.quoted:
        lines += [r"\midrule", rf"\multicolumn{{{len(heads) + 1}}}{{l}}{{\emph{{quoted, not measured here}}}} \\"]
    for quoted in table.quoted:
        title, *numbers, source = quoted_cells(table, quoted)
        lines.append(" & ".join(map(latex_text, [f"{title} {source}", *numbers])) + r" & \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\par\medskip"]
    failed = [f"{row.label} ({row.failed})" for row in table.rows if row.failed]
    notes = [*legend(table), *([f"Failed runs: {', '.join(failed)}."] if failed else [])]
    notes += [*quoted_notes(table), *numbered_notes(table)]
    # \raggedright in a group with its own \par: the notes would else be centred.
    lines += [rf"{{\raggedright\scriptsize {latex_text(note)}\par}}" for note in notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def comma_separated(table: ResultTable) -> str:
    """CSV with unrounded numbers; a text that a spreadsheet would take for a formula gets a leading apostrophe."""
    numbers = [f"{group}_{what}" for group in GROUPS for what in ("mean", "std", "behind", "low", "high", "standing")]
    heads = ["table", "dataset", "method", "label", "configuration", *numbers, "n", "seeds", "missing_seeds", "failed",
             "experiments"]  # fmt: skip
    rows = []
    for row in table.rows:
        texts = [table.dataset, row.method, row.label, row.configuration]
        cells = [part for group in GROUPS for part in _numbers(row, group)]
        counts = [len(row.seeds), _joined(row.seeds), _joined(row.missing), row.failed, " ".join(row.experiments)]
        rows.append([table.number, *texts, *cells, *counts])
    return write_csv(heads, rows)


def quoted_comma_separated(table: ResultTable) -> str:
    """The quoted rows as CSV, in the columns that `--quoted` reads."""
    heads = ["table", "method", "dataset", *GROUPS, "source", "suspect"]
    rows = [[q.table, q.title, q.dataset, *(q.values[g] for g in GROUPS), q.source, q.suspect] for q in table.quoted]
    return write_csv(heads, rows)


FORMATS: dict[str, Callable[[ResultTable], str]] = {"md": markdown, "tex": latex, "csv": comma_separated}


def write_csv(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """CSV text: floats unrounded, nothing for None, texts safe to open in a spreadsheet."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([[_csv_cell(value) for value in row] for row in rows])
    return buffer.getvalue()


def spreadsheet_text(text: str) -> str:
    """A text as CSV holds it: one that a spreadsheet would take for a formula gets a leading apostrophe."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def markdown_text(text: str) -> str:
    """A text as Markdown shows it unchanged, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>|])", r"\\\1", _one_line(text))


def latex_text(text: str) -> str:
    """A text as LaTeX shows it unchanged, on one line."""
    return "".join(LATEX_ESCAPES.get(character, character) for character in _one_line(text))


def _csv_cell(value: object) -> object:
    if isinstance(value, str):
        return spreadsheet_text(value)
    return "" if value is None else repr(value) if isinstance(value, float) else value


def _numbers(row: Row, group: str) -> list[object]:
    cell = row.cells[group]
    behind = [cell.behind.mean, cell.behind.low, cell.behind.high] if cell.behind else [None] * 3
    return [cell.mean, cell.deviation, *behind, cell.standing]


def _latex_cell(cell: Cell) -> str:
    """Thin spaces, and a mark that takes no room: four columns fit a page, and numbers stay under each other."""
    text = latex_text(cell.text).replace(r" $\pm$ ", r"\,$\pm$\,")
    return rf"\textbf{{{text}}}" if cell.best else text + r"\rlap{$^{\scriptscriptstyle\approx}$}" * cell.within_noise


def _in_order(row: Row) -> list[Cell]:
    return [row.cells[group] for group in GROUPS]


def _cells(row: Row, *, bold: Callable[[str], str]) -> list[str]:
    return [bold(cell.text) if cell.best else cell.text + cell.mark for cell in _in_order(row)]


def _markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, text_from: int) -> list[str]:
    """Lines of a table whose columns 1 to `text_from - 1` are numbers."""
    rules = [" ---: " if 0 < i < text_from else " --- " for i in range(len(heads))]
    return [f"| {' | '.join(heads)} |", f"|{'|'.join(rules)}|", *(f"| {' | '.join(row)} |" for row in rows)]


def _label(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "-", text)


def _letter(i: int) -> str:
    return chr(ord("a") + i % 26) * (i // 26 + 1)


def _joined(numbers: tuple[int, ...]) -> str:
    return " ".join(map(str, numbers))


def _one_line(text: str) -> str:
    return " ".join(text.split())
