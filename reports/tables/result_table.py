"""One table of results: rows, cells and notes, and the table as Markdown, LaTeX (booktabs) and CSV."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ...benchmark.training.metrics import SCORE_NAMES
from ..results.quoted import QuotedRow
from ..results.significance import Difference

DECIMALS = 2
SHORT_ID = 8
# Characters of overrides that a sentence lists; more are counted.
LISTED_AT_MOST = 30
# Follows a number whose method is within noise of the best; legends explain it.
NOISE_SIGN = "≈"
STANDING = "total, against the best"
MEASURED = "Mean ± sample standard deviation over seeds, last epoch; the best mean of each column is bold."
NOISE = (
    "the 95 % confidence interval of the paired difference over shared seeds (Student's t) holds zero. Intervals are "
    "not corrected for the number of comparisons, and few seeds make them wide: not told apart is not equal."
)
QUOTED_HEADS = ("method", *SCORE_NAMES, "source")
LATEX_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    # A row that begins with a bracket or a star would else be an argument of the line break before it.
    "[": "{[}", "]": "{]}", "*": "{*}",
    # LaTeX's own straight quote needs the T1 encoding, which not every document has.
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "±": r"$\pm$", "≈": r"$\approx$", "–": "--", "×": r"$\times$",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of a table, in percent.

    Attributes:
        mean: over seeds; None where nothing was measured.
        deviation: sample standard deviation over seeds; None for fewer than two.
        n: seeds that have the number.
        best: whether no other mean of its column is larger as printed.
        behind: the column's best minus this method over their shared seeds; None for the best itself, and where they
            share no seed.
    """

    mean: float | None
    deviation: float | None
    n: int = 0
    best: bool = False
    behind: Difference | None = None

    @property
    def text(self) -> str:
        """As tables print it; a dash where nothing was measured."""
        if self.mean is None:
            return "–"
        spread = "" if self.deviation is None else f" ± {self.deviation:.{DECIMALS}f}"
        return f"{self.mean:.{DECIMALS}f}{spread}"

    @property
    def within_noise(self) -> bool:
        """Whether the interval of the paired difference from the best, over at least two shared seeds, holds zero."""
        return self.behind is not None and self.behind.n > 1 and self.behind.is_noise

    @property
    def standing(self) -> str:
        """How it compares with the best of its column; empty where nothing was measured."""
        if self.best:
            return "best"
        if self.mean is None:
            return ""
        if self.behind is None:
            return "no shared seed with the best"
        if self.within_noise:
            return "within noise of the best"
        ahead = self.behind.mean < 0
        distance = f"{abs(self.behind.mean):.{DECIMALS}f} {'ahead on shared seeds' if ahead else 'behind'}"
        if self.behind.n == 1:
            return f"{distance}; noise unknown from one shared seed"
        low, high = sorted((abs(self.behind.low), abs(self.behind.high)))
        return f"{distance} [{low:.{DECIMALS}f}, {high:.{DECIMALS}f}]"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method of a table.

    Attributes:
        label: title of the method, with overrides.
        cells: by `SCORE_NAMES`.
        seeds: that were averaged.
        missing: seeds that other rows have and this one lacks.
        failed: how many runs failed and have no later success.
        experiments: ids of the averaged experiments, in order of seeds.
        configuration: their id without the seed, which they share; empty without runs.
    """

    label: str
    method: str
    cells: Mapping[str, Cell]
    seeds: tuple[int, ...]
    missing: tuple[int, ...]
    failed: int
    experiments: tuple[str, ...]
    configuration: str = ""
    overrides: str = ""

    @property
    def short(self) -> str:
        """The label for use in a sentence: overrides are counted where they are long.

        >>> row = Row(label="DB (mu=0.4375, kappa=0.2408, alpha=0.2)", overrides="mu=0.4375, kappa=0.2408, alpha=0.2",
        ...     method="db", cells={}, seeds=(), missing=(), failed=0, experiments=())
        >>> row.short
        'DB (3 overrides)'
        """
        if len(self.overrides) <= LISTED_AT_MOST:
            return self.label
        return self.label.replace(f"({self.overrides})", f"({self.overrides.count('=')} overrides)")

    @property
    def number(self) -> str:
        """How many seeds were averaged, what is missing, and what failed."""
        return self.seeds_of + (f", {self.failed} failed" if self.failed else "")

    @property
    def seeds_of(self) -> str:
        """How many seeds were averaged, of how many where some are missing."""
        lacks = f" of {len(self.seeds) + len(self.missing)}" if self.missing else ""
        return f"{len(self.seeds)}{lacks}"

    @property
    def short_ids(self) -> list[str]:
        """The beginnings of its experiment ids."""
        return [name[:SHORT_ID] for name in self.experiments]


@dataclass(frozen=True, kw_only=True)
class ResultTable:
    """A table of the paper, filled with measured numbers.

    Attributes:
        number: 1 or 2.
        rows: the paper's methods in its order, then others (in Table 1), then overridden ones.
        quoted: rows that others have published for this table, with their sources; never ranked with ours.
        notes: what a reader must know, numbered from 1; notes on suspect quoted rows are among them.
        left_out: sentences on the runs of its dataset and methods that it does not show.
    """

    number: int
    dataset: str
    rows: tuple[Row, ...]
    quoted: tuple[QuotedRow, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Caption of the table."""
        return f"Table {self.number}: {self.untitled}"

    @property
    def untitled(self) -> str:
        """The caption where something else numbers the tables."""
        return f"mAP on {self.dataset} (test split, percent, last epoch)"

    @property
    def quoted_title(self) -> str:
        """Caption of the quoted rows."""
        return f"Quoted for Table {self.number} on {self.dataset}: mAP in percent as published, not measured here"

    @property
    def measured(self) -> tuple[Row, ...]:
        """Rows with at least one finished run."""
        return tuple(row for row in self.rows if row.seeds)

    def best(self, name: str) -> tuple[Row, ...]:
        """Rows that are best in one column of `SCORE_NAMES`; several where they tie as printed."""
        return tuple(row for row in self.rows if row.cells[name].best)

    def legend(self, noise: str = f"{NOISE_SIGN} is within noise of the best") -> list[str]:
        """Sentences on how to read the table; what noise means only where several seeds were measured."""
        compared = any(cell.behind and cell.behind.n > 1 for row in self.rows for cell in row.cells.values())
        return [MEASURED, f"{noise}: {NOISE}"] if compared else [MEASURED]

    @property
    def numbered_notes(self) -> list[str]:
        """The notes with their numbers."""
        return [f"[{i}] {note}" for i, note in enumerate(self.notes, start=1)]

    @property
    def sources(self) -> dict[str, str]:
        """Letter of each source of the quoted rows."""
        names = dict.fromkeys(row.source for row in self.quoted)
        return {source: chr(ord("a") + i % 26) * (i // 26 + 1) for i, source in enumerate(names)}

    @property
    def quoted_notes(self) -> list[str]:
        """The sources with their letters."""
        return [f"({letter}) {source}" for source, letter in self.sources.items()]

    def note_number(self, quoted: QuotedRow) -> int | None:
        """Number of the note on a quoted row, or None."""
        return self.notes.index(quoted.note) + 1 if quoted.suspect else None

    def quoted_cells(self, quoted: QuotedRow) -> list[str]:
        """Method, numbers and the source's letter of a quoted row; a suspect total has the number of its note."""
        note = self.note_number(quoted)
        numbers = [quoted.text(name) + (f" [{note}]" if note and name == "total" else "") for name in SCORE_NAMES]
        return [quoted.title, *numbers, f"({self.sources[quoted.source]})"]

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        return markdown(self)


def markdown(table: ResultTable) -> str:
    """A Markdown table with its caption and notes, and one of the quoted rows."""
    rows = []
    for row in table.rows:
        cells = [row.cells[name] for name in SCORE_NAMES]
        texts = [
            f"**{cell.text}**" if cell.best else cell.text + f" {NOISE_SIGN}" * cell.within_noise for cell in cells
        ]
        ids = " ".join(f"`{name}`" for name in row.short_ids)
        rows.append([markdown_text(row.label), *texts, cells[0].standing, row.number, ids])
    heads = ["method", *SCORE_NAMES, STANDING, "seeds", "experiments"]
    lines = [f"**{markdown_text(table.title)}**", "", *_markdown_table(heads, rows), ""]
    lines += [f"- {sentence}" for sentence in table.legend()] + [""]
    if table.quoted:
        quoted = [[markdown_text(cell) for cell in table.quoted_cells(row)] for row in table.quoted]
        lines += [f"**{markdown_text(table.quoted_title)}**", "", *_markdown_table(QUOTED_HEADS, quoted), ""]
    lines += [f"- {markdown_text(note)}" for note in (*table.quoted_notes, *table.numbered_notes)]
    return "\n".join(lines).rstrip() + "\n"


def latex(table: ResultTable) -> str:
    """A LaTeX table for `booktabs`; experiment ids are comments behind the rows."""
    heads = [*SCORE_NAMES, "seeds"]
    label = re.sub(r"[^A-Za-z0-9-]+", "-", table.dataset)
    lines = [r"% \usepackage{booktabs}", r"\begin{table}", r"\centering", r"\footnotesize"]
    lines += [rf"\caption{{{latex_text(table.untitled)}}}", rf"\label{{tab:{table.number}-{label}}}"]
    lines += [r"\setlength{\tabcolsep}{3.5pt}", rf"\begin{{tabular}}{{@{{}}l{'r' * len(heads)}@{{}}}}", r"\toprule"]
    lines += ["method & " + " & ".join(heads) + r" \\", r"\midrule"]
    for row in table.rows:
        cells = [_latex_cell(row.cells[name]) for name in SCORE_NAMES]
        line = " & ".join([latex_text(row.label), *cells, row.seeds_of])
        lines.append(rf"{line} \\" + (f" % {_one_line(' '.join(row.short_ids))}" if row.experiments else ""))
    if table.quoted:
        lines += [r"\midrule", rf"\multicolumn{{{len(heads) + 1}}}{{l}}{{\emph{{quoted, not measured here}}}} \\"]
    for quoted in table.quoted:
        title, *numbers, source = table.quoted_cells(quoted)
        lines.append(" & ".join(map(latex_text, [f"{title} {source}", *numbers])) + r" & \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\par\medskip"]
    failed = [f"{row.label} ({row.failed})" for row in table.rows if row.failed]
    notes = [*table.legend(), *([f"Failed runs: {', '.join(failed)}."] if failed else [])]
    # \raggedright in a group with its own \par: the notes would else be centred.
    lines += [
        rf"{{\raggedright\scriptsize {latex_text(note)}\par}}"
        for note in (*notes, *table.quoted_notes, *table.numbered_notes)
    ]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def comma_separated(table: ResultTable) -> str:
    """CSV with unrounded numbers."""
    lines = []
    for row in table.rows:
        line = {"table": table.number, "dataset": table.dataset, "method": row.method, "label": row.label}
        line |= {"configuration": row.configuration}
        for name, cell in ((name, row.cells[name]) for name in SCORE_NAMES):
            behind = cell.behind
            ends = (behind.mean, behind.low, behind.high) if behind else (None, None, None)
            parts = ("mean", "std", "behind", "low", "high", "standing")
            values = (cell.mean, cell.deviation, *ends, cell.standing)
            line |= {f"{name}_{part}": value for part, value in zip(parts, values, strict=True)}
        line |= {"n": len(row.seeds), "seeds": " ".join(map(str, row.seeds))}
        line |= {"missing_seeds": " ".join(map(str, row.missing)), "failed": row.failed}
        lines.append(line | {"experiments": " ".join(row.experiments)})
    return csv_text(pd.DataFrame(lines))


def quoted_frame(table: ResultTable) -> pd.DataFrame:
    """The quoted rows in the columns that `--quoted` reads."""
    return pd.DataFrame(
        {"table": row.table, "method": row.title, "dataset": row.dataset, **row.values, "source": row.source,
         "suspect": row.suspect}
        for row in table.quoted
    )  # fmt: skip


FORMATS: dict[str, Callable[[ResultTable], str]] = {"md": markdown, "tex": latex, "csv": comma_separated}


def csv_text(frame: pd.DataFrame) -> str:
    """CSV with unrounded numbers, nothing for None and NaN, and texts that are safe to open in a spreadsheet."""
    texts = [column for column in frame if frame[column].dtype.kind not in "iufb"]
    safe = {str(c): [spreadsheet_text(v) if isinstance(v, str) else v for v in frame[c]] for c in texts}
    return frame.assign(**safe).to_csv(index=False, lineterminator="\n")


def spreadsheet_text(text: str) -> str:
    """A text as CSV holds it: one that a spreadsheet would take for a formula gets a leading apostrophe."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def markdown_text(text: str) -> str:
    """A text as Markdown shows it unchanged, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>|])", r"\\\1", _one_line(text))


def latex_text(text: str) -> str:
    """A text as LaTeX shows it unchanged, on one line."""
    return "".join(LATEX_ESCAPES.get(character, character) for character in _one_line(text))


def _latex_cell(cell: Cell) -> str:
    """Thin spaces, and a sign without width: four columns fit a page, and numbers stay under each other."""
    text = latex_text(cell.text).replace(r" $\pm$ ", r"\,$\pm$\,")
    return rf"\textbf{{{text}}}" if cell.best else text + r"\rlap{$^{\scriptscriptstyle\approx}$}" * cell.within_noise


def _markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose columns are a text, the scores, and texts."""
    rules = [" ---: " if head in SCORE_NAMES else " --- " for head in heads]
    return [f"| {' | '.join(heads)} |", f"|{'|'.join(rules)}|", *(f"| {' | '.join(row)} |" for row in rows)]


def _one_line(text: str) -> str:
    return " ".join(text.split())
