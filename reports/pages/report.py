"""A report: what it shows, and the one folder that it is written to, with a page, tables, and JSON for programs."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from ... import __version__
from ...benchmark.tracking.store import Store
from ...benchmark.training.metrics import SCORE_NAMES
from ...errors import InputError
from ...files import replacing, safe_file_name, writing
from ...terminal import short_id
from ..figures.registry import Drawing, remove_figures
from ..results.provenance import configuration_records
from ..tables.result_table import FORMATS, FURTHER, NOISE_SIGN, Cell, ResultTable, Row, csv_text, quoted_frame
from ..tables.summary import describe_seeds, listed, summarise
from .web import content_policy, page_files, templates

# Raised when a field of results.json changes its meaning or goes away.
SCHEMA_VERSION = 2
# A larger matrix of pairs is a wall of numbers; its CSV holds them all.
MATRIX_AT_MOST = 20
# Letters of 8 points in a paper are read on a page at 10.
ENLARGED = 1.25
# Endings of the files of one table.
OF_A_TABLE = (*(f".{ending}" for ending in FORMATS), "-pairs.csv", "-classes.csv", "-quoted.csv")


@dataclass(frozen=True, eq=False, kw_only=True)
class Section:
    """One table of the report, the paired differences of its rows from `pairs_frame`, its `classes_frame`."""

    table: ResultTable
    pairs: pd.DataFrame
    classes: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def name(self) -> str:
        """Name of its files, without ending."""
        return _table_name(self.table.number, self.table.dataset)


@dataclass(frozen=True, eq=False, kw_only=True)
class DatasetReport:
    """One dataset of the report; `left_out` are sentences on the runs that the figures of results do not show."""

    dataset: str
    sections: tuple[Section, ...]
    drawing: Drawing = field(default_factory=Drawing)
    left_out: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Folder of its figures, within the report's."""
        return _figures_folder(self.dataset)


@dataclass(frozen=True, eq=False, kw_only=True)
class Report:
    """A whole report.

    `configurations` record how its numbers were made, `resamples` is 0 without a bootstrap, and `chosen` says which
    part of the results it shows; it is empty where that is all.
    """

    datasets: tuple[DatasetReport, ...]
    configurations: Sequence[Mapping[str, Any]]
    resamples: int = 0
    chosen: str = ""


def shown_configurations(store: Store, runs: pd.DataFrame, datasets: Sequence[DatasetReport]) -> list[dict[str, Any]]:
    """Records of the experiments that the tables show, each once."""
    shown = {name for d in datasets for s in d.sections for row in s.table.every_row for name in row.experiments}
    return configuration_records(store, runs[runs.experiment_id.isin(shown)])


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Within, no other process writes a report to this folder; it is created if missing.

    Raises:
        InputError: if another process does, or the folder cannot be written.
    """
    lock = FileLock(folder / ".report.lock")
    with _writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                f"another `mltbench report` is writing to {folder}; wait for it, or give another folder with --to"
            ) from None
    try:
        yield
    finally:
        lock.release()


def write_report(report: Report, folder: Path) -> Path:
    """Write page, tables, pairs and JSON; return the page's path. Figures are there already: they are drawn in place.

    Tables and figures that an earlier report wrote there, and this one does not have, are removed.

    Raises:
        InputError: if the folder cannot be written; the page is written last, so that an old one stays whole.
    """
    texts: dict[str, str] = {}
    for section in (section for dataset in report.datasets for section in dataset.sections):
        texts |= {f"{section.name}.{ending}": write(section.table) for ending, write in FORMATS.items()}
        texts[f"{section.name}-pairs.csv"] = csv_text(section.pairs)
        if not section.classes.empty:
            texts[f"{section.name}-classes.csv"] = csv_text(section.classes)
        if section.table.quoted:
            texts[f"{section.name}-quoted.csv"] = csv_text(quoted_frame(section.table))
    texts |= {"results.json": results_json(report), "index.html": render_page(report)}
    with _writing_to(folder):
        before = _written_before(folder)
        for name, text in texts.items():
            with replacing(folder / name) as file:
                file.write(text.encode())
        drawn = {dataset.folder for dataset in report.datasets if dataset.drawing.drawn}
        for number, dataset in before:
            for ending in OF_A_TABLE:
                if (name := _table_name(number, dataset) + ending) not in texts:
                    (folder / name).unlink(missing_ok=True)
            if _figures_folder(dataset) not in drawn:
                remove_figures(folder / _figures_folder(dataset))
    return folder / "index.html"


def _table_name(number: int, dataset: str) -> str:
    return f"table{number}-{safe_file_name(dataset)}"


def _figures_folder(dataset: str) -> str:
    return f"figures/{safe_file_name(dataset)}"


def _written_before(folder: Path) -> list[tuple[int, str]]:
    """Number and dataset of each table of the report that is in a folder; none if there is no whole one."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        return [(int(table["table"]), str(table["dataset"])) for table in content["tables"]]
    return []


def render_page(report: Report) -> str:
    """The report as one HTML page."""
    style, script = page_files()
    names = listed([dataset.dataset for dataset in report.datasets])
    return (
        templates(str(__package__))
        .get_template("page.html.jinja")
        .render(
            report=report,
            title=f"Long-tailed multi-label recognition on {names}",
            groups=SCORE_NAMES,
            noise_sign=NOISE_SIGN,
            further=FURTHER,
            number=leading_number,
            short_id=short_id,
            enlarged=ENLARGED,
            version=__version__,
            style=style,
            script=script,
            policy=content_policy(script),
            matrix=pair_matrix,
            describe_seeds=describe_seeds,
            summarise=summarise,
        )
    )


def pair_matrix(section: Section, group: str) -> list[tuple[str, list[dict[str, str] | None]]]:
    """Paired differences of one group as a square, row minus column: each row's label and its cells.

    It is empty where it would be too large; a cell is None where the two share no seed.
    """
    labels = [row.label for row in section.table.measured if row.cells[group].mean is not None]
    if not 2 <= len(labels) <= MATRIX_AT_MOST:
        return []
    cells = {}
    for pair in section.pairs[section.pairs.group == group].to_dict("records"):
        ends = [pair[name] for name in ("difference", "low", "high", "images_low", "images_high")]
        mean, low, high, images_low, images_high = ends
        cells[pair["first"], pair["second"]] = _pair_cell(*ends)
        cells[pair["second"], pair["first"]] = _pair_cell(-mean, -high, -low, -images_high, -images_low)
    return [(row, [cells.get((row, column)) for column in labels]) for row in labels]


def leading_number(text: str) -> str:
    """The number that a cell begins with, by which its column is sorted; empty where it begins with none.

    >>> leading_number("71.09 ± 0.20"), leading_number("–")
    ('71.09', '')
    """
    found = re.match(r"[+-]?\d+(\.\d+)?", text)
    return found.group() if found else ""


def results_json(report: Report) -> str:
    """The whole report as JSON text; numbers unrounded and in percent, null for what does not exist."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "mltbench": __version__,
        "split": "test",
        "unit": "percent",
        "bootstrap_resamples": report.resamples,
        "chosen": report.chosen,
        "tables": [_section(section) for dataset in report.datasets for section in dataset.sections],
        "figures": [
            {**asdict(figure), "dataset": dataset.dataset, "folder": dataset.folder}
            for dataset in report.datasets
            for figure in dataset.drawing.drawn
        ],
        "figures_failed": [
            {"name": name, "dataset": dataset.dataset, "reason": reason}
            for dataset in report.datasets
            for name, reason in dataset.drawing.failed.items()
        ],
        "configurations": report.configurations,
    }
    return json.dumps(_finite(content), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _section(section: Section) -> dict[str, Any]:
    table = section.table
    return {
        "table": table.number,
        "dataset": table.dataset,
        "title": table.title,
        "protocol": {"recipe": table.protocol.recipe, "settings": table.protocol.settings},
        "seeds": table.seeds,
        "rows": [_row(row) for row in table.rows],
        "further": [_row(row) for row in table.further],
        "absent": table.absent,
        "pairs": section.pairs.to_dict("records"),
        "quoted": [asdict(row) for row in table.quoted],
        "notes": table.notes,
        "left_out": table.left_out,
        "summary": summarise(table),
    }


def _row(row: Row) -> dict[str, Any]:
    kept = ("label", "method", "configuration", "seeds", "missing", "failed", "experiments")
    return {name: getattr(row, name) for name in kept} | {"results": {n: _cell(cell) for n, cell in row.cells.items()}}


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "mean": cell.mean,
        "std": cell.deviation,
        "n": cell.n,
        "best": cell.best,
        "competes": cell.competes,
        "not_told_apart_from_best": cell.is_noise,
        "behind_best": asdict(cell.behind) if cell.behind else None,
        "behind_best_over_images": cell.images,
        "standing": cell.standing,
    }


def _finite(value: Any) -> Any:
    """The same value as JSON can hold it: null for infinite and undefined numbers."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _pair_cell(mean: float, low: float, high: float, images_low: float, images_high: float) -> dict[str, str]:
    sign = f" {NOISE_SIGN}" if math.isfinite(low) and low <= 0 <= high else ""
    return {
        "difference": f"{mean:+.2f}".replace("-", "−") + sign,  # noqa: RUF001 - a minus as wide as the plus
        "over_seeds": f"[{low:.2f}, {high:.2f}]" if math.isfinite(low) else "one seed",
        "over_images": "" if math.isnan(images_low) else f"[{images_low:.2f}, {images_high:.2f}]",
    }


def _writing_to(folder: Path) -> AbstractContextManager[None]:
    return writing(f"the report to {folder}", "give a writable folder with enough room with --to")
