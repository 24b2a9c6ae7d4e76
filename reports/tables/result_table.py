"""One table of results: rows, cells and notes, and the table as Markdown, LaTeX (booktabs) and CSV."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ...benchmark.training.metrics import SCORE_NAMES
from ...terminal import short_id
from ..results.quoted import QuotedRow
from ..results.rows import LEAST_SEEDS, Protocol
from ..results.significance import Difference

DECIMALS = 2
# Characters of overrides that a sentence lists; more are counted.
LISTED_AT_MOST = 30
# Follow a number in a log and in a terminal; legends explain them.
BEST_SIGN, NOISE_SIGN = "*", "≈"
STANDING, OVER_IMAGES = "against the best total", "over images"
MEASURED = "Mean ± sample standard deviation over seeds."
NOISE = (
    "the 95 % confidence interval of the paired difference from the best over these seeds (Student's t) holds zero. "
    "Intervals are not corrected for the number of comparisons, and few seeds make them wide: not told apart is not "
    "equal."
)
FURTHER = "Other methods, overridden ones and other versions compete with no row above; each is compared with its best."
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
        competes: whether its row has all seeds on which rows of the table compete.
        best: whether no other mean of its column over these seeds is larger as printed.
        behind: the column's best minus this row over their shared seeds; None for the best itself, where there is none,
            and where they share no seed.
        images: ends of the 95 % interval of `behind` over resampled test images; None without a bootstrap.
    """

    mean: float | None
    deviation: float | None
    n: int = 0
    competes: bool = False
    best: bool = False
    behind: Difference | None = None
    images: tuple[float, float] | None = None

    @property
    def text(self) -> str:
        """As tables print it; a dash where nothing was measured."""
        if self.mean is None:
            return "–"
        spread = "" if self.deviation is None else f" ± {self.deviation:.{DECIMALS}f}"
        return f"{self.mean:.{DECIMALS}f}{spread}"

    @property
    def is_noise(self) -> bool:
        """Whether it competes, and the interval of the paired difference from the best holds zero."""
        return self.competes and self.behind is not None and self.behind.n > 1 and self.behind.is_noise

    @property
    def sign(self) -> str:
        """What follows the number: the best's sign, that of a row that is not told apart from it, or nothing."""
        return BEST_SIGN if self.best else NOISE_SIGN if self.is_noise else ""

    @property
    def standing(self) -> str:
        """How it compares with the best of its column; empty where nothing was measured or nothing is best."""
        if self.best:
            return "best"
        if (behind := self.behind) is None:
            return ""
        distance = f"{abs(behind.mean):.{DECIMALS}f} {'ahead' if behind.mean < 0 else 'behind'}"
        seeds = f"{behind.n} seed{'s'[: behind.n > 1]}"
        if behind.n == 1:
            return f"{distance} ({seeds}: noise unknown)"
        if behind.is_noise:
            return f"not told apart ({distance}, {seeds})"
        return f"{distance} {_interval(behind.low, behind.high)}"

    @property
    def over_images(self) -> str:
        """The interval of its distance from the best over resampled test images; empty without one."""
        return _interval(*self.images) if self.images else ""


def _interval(low: float, high: float) -> str:
    """Ends of an interval of a distance, whose direction is said beside it unless the interval holds zero."""
    ends = (low, high) if low <= 0 <= high else sorted((abs(low), abs(high)))
    return f"[{', '.join(f'{end:.{DECIMALS}f}' for end in ends)}]"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method of a table.

    Attributes:
        label: title of the method, with what differs from its row by the protocol.
        cells: by `SCORE_NAMES`.
        seeds: that were averaged.
        missing: seeds that most rows have and this one lacks.
        failed: how many runs failed and have no later success.
        experiments: ids of the averaged experiments, in order of seeds.
        configuration: their id without the seed, which they share.
        block: of its table's rows, such as those with one sampler; empty where there are none.
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
    block: str = ""

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
    def seeds_of(self) -> str:
        """How many seeds were averaged, of how many where some are missing."""
        lacks = f" of {len(self.seeds) + len(self.missing)}" if self.missing else ""
        return f"{len(self.seeds)}{lacks}"

    @property
    def short_ids(self) -> list[str]:
        """The beginnings of its experiment ids."""
        return [short_id(name) for name in self.experiments]


@dataclass(frozen=True, kw_only=True)
class ResultTable:
    """A table of the paper, filled with measured numbers.

    Attributes:
        number: that of the table, see `TABLES`.
        protocol: what its rows share.
        rows: the paper's methods in its order, and others that were asked for.
        further: other methods, overridden ones and other versions, which are compared with the best and never are it.
        seeds: those on which rows compete; empty where no three are shared.
        absent: titles of the paper's methods without any run.
        quoted: rows that others have published for this table, with their sources; never ranked with ours.
        notes: what a reader must know, numbered from 1; notes on suspect quoted rows are among them.
        left_out: sentences on the runs of its dataset that it does not show.
    """

    number: int
    dataset: str
    protocol: Protocol
    rows: tuple[Row, ...]
    further: tuple[Row, ...] = ()
    seeds: tuple[int, ...] = ()
    absent: tuple[str, ...] = ()
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
        return f"mAP on {self.dataset} (test split, percent, last epoch; {self.protocol.text})"

    @property
    def further_title(self) -> str:
        """Caption of the further rows."""
        return f"Beside Table {self.number} on {self.dataset}"

    @property
    def quoted_title(self) -> str:
        """Caption of the quoted rows."""
        if self.measures_quoted:
            return f"Table {self.number} beside published numbers on {self.dataset}: measured here, quoted, difference"
        return f"Quoted for Table {self.number} on {self.dataset}: mAP in percent as published, not measured here"

    @property
    def blocks(self) -> list[tuple[str, tuple[Row, ...]]]:
        """The rows block by block, each with its caption: that of the table where there is but one."""
        names = dict.fromkeys(row.block for row in self.rows)
        return [
            (f"{self.title}; {name}" if name else self.title, tuple(row for row in self.rows if row.block == name))
            for name in names
        ]

    @property
    def every_row(self) -> tuple[Row, ...]:
        """Rows and further rows."""
        return (*self.rows, *self.further)

    @property
    def measured(self) -> tuple[Row, ...]:
        """Rows with at least one finished run."""
        return tuple(row for row in self.rows if row.seeds)

    @property
    def is_resampled(self) -> bool:
        """Whether some row has an interval over images."""
        return any(cell.images for row in self.every_row for cell in row.cells.values())

    def best(self, name: str) -> tuple[Row, ...]:
        """Rows that are best in one column of `SCORE_NAMES`; several where they tie as printed."""
        return tuple(row for row in self.rows if row.cells[name].best)

    def legend(
        self, best: str = f"{BEST_SIGN} is the best mean", noise: str = f"{NOISE_SIGN} is not told apart"
    ) -> list[str]:
        """Sentences on how to read the table."""
        if not self.rows:
            return []
        sentences = [MEASURED]
        if self.seeds:
            shared = ", ".join(map(str, self.seeds))
            sentences[0] += f" {best} of its column over the seeds that competing rows share ({shared})."
        else:
            sentences[0] += f" No row is marked as best: that takes {LEAST_SEEDS} seeds that rows share."
        if any(cell.is_noise for row in self.rows for cell in row.cells.values()):
            sentences.append(f"{noise}: {NOISE}")
        if self.is_resampled:
            sentences.append("Over images: the same distance with its 95 % interval over resampled test images.")
        if failed := [f"{row.label} ({row.failed})" for row in self.every_row if row.failed]:
            sentences.append(f"Failed runs: {', '.join(failed)}.")
        if self.absent:
            sentences.append(f"Not run: {', '.join(self.absent)}.")
        return sentences

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

    @property
    def measures_quoted(self) -> bool:
        """Whether a row measures what some quoted row says."""
        return any(self.measured_as(row) for row in self.quoted)

    def measured_as(self, quoted: QuotedRow) -> Row | None:
        """The row that measures what a quoted row says of the same method."""
        return next((row for row in self.measured if row.label == quoted.title), None)

    def quoted_rows(self, groups: Sequence[str] = SCORE_NAMES) -> tuple[list[str], list[list[str]]]:
        """Heads and cells of the quoted rows; measured numbers and differences stand beside those that have some.

        A suspect total has the number of its note, and every row ends with its source's letter.
        """
        heads = ["method"]
        for name in groups:
            heads += [name, "quoted", "difference"] if self.measures_quoted else [name]
        return [*heads, "source"], [self._quoted_cells(row, groups) for row in self.quoted]

    def _quoted_cells(self, quoted: QuotedRow, groups: Sequence[str]) -> list[str]:
        row, cells = self.measured_as(quoted), [quoted.title]
        for name in groups:
            if self.measures_quoted:
                difference = self.difference(quoted, name)
                cells += [
                    row.cells[name].text if row else "–",
                    self.quoted_text(quoted, name),
                    "–" if difference is None else f"{difference:+.{DECIMALS}f}",
                ]
            else:
                cells.append(self.quoted_text(quoted, name))
        return [*cells, f"({self.sources[quoted.source]})"]

    def quoted_text(self, quoted: QuotedRow, name: str) -> str:
        """A quoted number; a suspect total has the number of its note."""
        note = self.note_number(quoted)
        return quoted.text(name) + (f" [{note}]" if note and name == "total" else "")

    def difference(self, quoted: QuotedRow, name: str) -> float | None:
        """Our mean minus the quoted number, in percentage points; None where one of them is missing."""
        row, value = self.measured_as(quoted), quoted.values[name]
        mean = row.cells[name].mean if row else None
        return None if mean is None or value is None else mean - value

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        return markdown(self)


def markdown(table: ResultTable) -> str:
    """A Markdown table with its caption and notes, one of further rows, and one of the quoted rows."""
    lines: list[str] = []
    for title, rows in table.blocks:
        lines += [f"**{markdown_text(title)}**", "", *_markdown_rows(table, rows), ""]
    if table.rows:
        lines += [f"- {sentence}" for sentence in table.legend("Bold is the best mean")] + [""]
    if table.further:
        lines += [f"**{markdown_text(table.further_title)}**", "", *_markdown_rows(table, table.further), ""]
        lines += [f"- {FURTHER}", ""]
    if table.quoted:
        heads, cells = table.quoted_rows()
        quoted = [[markdown_text(cell) for cell in row] for row in cells]
        lines += [f"**{markdown_text(table.quoted_title)}**", "", *_markdown_table(heads, quoted), ""]
    lines += [f"- {markdown_text(note)}" for note in (*table.quoted_notes, *table.numbered_notes)]
    return "\n".join(lines).rstrip() + "\n"


def latex(table: ResultTable) -> str:
    """A LaTeX table for `booktabs`; experiment ids are comments behind the rows."""
    heads = [*SCORE_NAMES, "seeds"]
    label = re.sub(r"[^A-Za-z0-9-]+", "-", table.dataset)
    lines = [r"% \usepackage{booktabs}", r"\begin{table}", r"\centering", r"\footnotesize"]
    lines += [rf"\caption{{{latex_text(table.untitled)}}}", rf"\label{{tab:{table.number}-{label}}}"]
    lines += [r"\setlength{\tabcolsep}{3.5pt}", rf"\begin{{tabular}}{{@{{}}l{'r' * len(heads)}@{{}}}}", r"\toprule"]
    lines += ["method & " + " & ".join(heads) + r" \\"]
    for rows in filter(None, (*(rows for _, rows in table.blocks), table.further)):
        lines.append(r"\midrule")
        if rows[0].block:
            lines.append(rf"\multicolumn{{{len(heads) + 1}}}{{l}}{{\emph{{{latex_text(rows[0].block)}}}}} \\")
        for row in rows:
            cells = [_latex_cell(row.cells[name]) for name in SCORE_NAMES]
            line = " & ".join([latex_text(row.label), *cells, row.seeds_of])
            lines.append(rf"{line} \\" + (f" % {_one_line(' '.join(row.short_ids))}" if row.experiments else ""))
    if table.quoted:
        what = "quoted, not measured here" + (" (measured minus quoted)" if table.measures_quoted else "")
        lines += [r"\midrule", rf"\multicolumn{{{len(heads) + 1}}}{{l}}{{\emph{{{what}}}}} \\"]
    for quoted in table.quoted:
        numbers = [_latex_quoted(table, quoted, name) for name in SCORE_NAMES]
        title = latex_text(f"{quoted.title} ({table.sources[quoted.source]})")
        lines.append(" & ".join([title, *numbers]) + r" & \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\par\medskip"]
    notes = [*table.legend("Bold is the best mean"), *([FURTHER] if table.further else [])]
    # \raggedright in a group with its own \par: the notes would else be centred.
    lines += [
        rf"{{\raggedright\scriptsize {latex_text(note)}\par}}"
        for note in (*notes, *table.quoted_notes, *table.numbered_notes)
    ]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def comma_separated(table: ResultTable) -> str:
    """CSV with unrounded numbers; `section` is `table`, or `further` for rows that do not compete."""
    published = {row.title: row for row in reversed(table.quoted)}
    lines = []
    for row in table.every_row:
        line = {"table": table.number, "dataset": table.dataset, "section": "table" if row in table.rows else "further"}
        line |= {"method": row.method, "label": row.label, "configuration": row.configuration}
        quoted = published.get(row.label)
        for name, cell in ((name, row.cells[name]) for name in SCORE_NAMES):
            behind = cell.behind
            ends = (behind.mean, behind.low, behind.high) if behind else (None, None, None)
            theirs = (quoted.values[name], table.difference(quoted, name)) if quoted else (None, None)
            values = (cell.mean, cell.deviation, *ends, *(cell.images or (None, None)), cell.standing, *theirs)
            parts = ("mean", "std", "behind", "low", "high", "images_low", "images_high", "standing", "quoted",
                     "minus_quoted")  # fmt: skip
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
    return rf"\textbf{{{text}}}" if cell.best else text + r"\rlap{$^{\scriptscriptstyle\approx}$}" * cell.is_noise


def _latex_quoted(table: ResultTable, quoted: QuotedRow, name: str) -> str:
    text, difference = latex_text(table.quoted_text(quoted, name)), table.difference(quoted, name)
    return text + ("" if difference is None else rf"\,($" f"{difference:+.{DECIMALS}f}$)")


def _markdown_rows(table: ResultTable, rows: Sequence[Row]) -> list[str]:
    heads = ["method", *SCORE_NAMES, STANDING, *[OVER_IMAGES] * table.is_resampled, "seeds", "experiments"]
    lines = []
    for row in rows:
        cells = [row.cells[name] for name in SCORE_NAMES]
        texts = [f"**{cell.text}**" if cell.best else f"{cell.text} {cell.sign}".rstrip() for cell in cells]
        texts += [cells[0].standing, *[cells[0].over_images] * table.is_resampled, row.seeds_of]
        lines.append([markdown_text(row.label), *texts, " ".join(f"`{name}`" for name in row.short_ids)])
    return _markdown_table(heads, lines)


def _markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table whose columns are texts, and numbers aligned to the right."""
    rules = [" ---: " if head in (*SCORE_NAMES, "quoted", "difference") else " --- " for head in heads]
    return [f"| {' | '.join(heads)} |", f"|{'|'.join(rules)}|", *(f"| {' | '.join(row)} |" for row in rows)]


def _one_line(text: str) -> str:
    return " ".join(text.split())
