"""The static site: a table, one page per method, the rules, a machine-readable index."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from ... import __version__
from ...datasets.long_tail.statistics import HEAD_AT_LEAST, TAIL_BELOW
from ...errors import InputError
from ..figures.class_size import class_size, draw_class_size
from ..figures.groups import draw_groups
from ..figures.registry import write_data
from ..figures.style import as_svg
from ..pages.dark_figures import adapt_figures
from ..pages.page import page_files
from .check import Fault, check
from .known import OWN_FILE, KnownDataset, known_datasets
from .ranking import rank_submissions
from .submission import Submission, class_groups, read_json

GROUPS = ("total", "head", "medium", "tail")
FILTERS = {"dataset": "dataset", "backbone": "backbone", "pretraining": "pre-training", "recipe": "protocol"}
INDEX_FORMAT = "mltbench-leaderboard-1"


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A file that is left out.

    Attributes:
        file: its name.
        faults: why.
    """

    file: str
    faults: tuple[str, ...]


def read_folder(
    folder: Path, known: Mapping[str, KnownDataset] | None = None
) -> tuple[list[Submission], list[Rejected]]:
    """Read and check every `*.json` of a folder; the second of two with one id is rejected.

    Raises:
        InputError: if the folder is missing or holds no submission.
    """
    paths = sorted(path for path in folder.glob("*.json") if path.name != OWN_FILE) if folder.is_dir() else []
    if not paths:
        raise InputError(
            f"no submission under {folder}: put *.json files there (`mltbench leaderboard submit` makes them)"
        )
    accepted: dict[str, Submission] = {}
    rejected = []
    facts = known_datasets(folder) if known is None else known
    for path in paths:
        try:
            data = read_json(path)
            faults = [str(fault) for fault in check(data, facts)]
            if not faults and data["id"] in accepted:
                faults = [
                    str(Fault(field="id", value=repr(data["id"]), cure="another submission has it; choose another"))
                ]
        except InputError as error:
            faults = [str(error)]
        if faults:
            rejected.append(Rejected(file=path.name, faults=tuple(faults)))
        else:
            accepted[data["id"]] = Submission(data=data)
    order = sorted(accepted.values(), key=lambda s: (s.data["dataset"], -(s.mean("total") or 0)))
    return order, rejected


def build_site(
    folder: Path, site: Path, *, on_page: Callable[[str], None] = lambda name: None
) -> tuple[list[Submission], list[Rejected]]:
    """Turn a folder of submissions into a site; what was there before is replaced as a whole.

    Raises:
        InputError: if there is no submission, or `site` holds something else, or cannot be written.
    """
    submissions, rejected = read_folder(folder)
    if site.exists() and not _is_ours(site):
        raise InputError(f"{site} holds something that is no leaderboard; give an empty or new folder with --out")
    try:
        site.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=site.parent, prefix=".leaderboard-") as made:
            new = Path(made) / "site"
            _write_site(new, submissions, rejected, on_page)
            if site.exists():
                site.rename(Path(made) / "old")
            new.rename(site)
    except OSError as error:
        raise InputError(
            f"cannot write the site to {site}: {error.strerror}; give a writable folder with --out"
        ) from error
    return submissions, rejected


def _is_ours(site: Path) -> bool:
    if not site.is_dir():
        return False
    if not any(site.iterdir()):
        return True
    try:
        index = json.loads((site / "index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(index, dict) and index.get("format") == INDEX_FORMAT


def _write_site(
    site: Path, submissions: Sequence[Submission], rejected: Sequence[Rejected], on_page: Callable[[str], None]
) -> None:
    (site / "methods").mkdir(parents=True)
    ranks = rank_submissions(submissions)
    rows = [_row(submission, ranks[submission.id]) for submission in submissions]
    for name, text in zip(("page.css", "page.js"), page_files(), strict=True):
        (site / name).write_text(text, encoding="utf-8")
    for name in ("leaderboard.css", "schema.json"):
        shutil.copyfile(str(files(__package__) / name), site / name)
    shared: dict[str, Any] = {"version": __version__, "groups": GROUPS, "root": ""}
    _page(site / "index.html", "index", rows=rows, filters=FILTERS, rejected=rejected, **shared)
    bounds = {"head": HEAD_AT_LEAST, "tail": TAIL_BELOW}
    _page(site / "rules.html", "rules", bounds=bounds, **shared)
    for submission, row in zip(submissions, rows, strict=True):
        on_page(submission.id)
        rivals = [other for other in submissions if other.board == submission.board]
        _write_method(site / "methods", submission, row, rivals, shared | {"root": "../"})
    adapt_figures(site / "methods")
    index = {
        "format": INDEX_FORMAT,
        "version": __version__,
        "submissions": rows,
        "rejected": [{"file": item.file, "faults": list(item.faults)} for item in rejected],
    }
    (site / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")


def _row(submission: Submission, rank: str) -> dict[str, Any]:
    data = submission.data
    keys = ("id", "method", "author", "code", "dataset", "dataset_digest", "backbone", "pretraining", "cost")
    return {
        **{key: data[key] for key in keys},
        "recipe": data["protocol"]["recipe"],
        "rank": rank,
        "page": f"methods/{submission.id}.html",
        "seeds": sorted(run["seed"] for run in data["runs"]),
        "mean": {group: submission.mean(group) for group in GROUPS},
        "deviation": {group: submission.deviation(group) for group in GROUPS},
    }


def _write_method(
    folder: Path,
    submission: Submission,
    row: Mapping[str, Any],
    rivals: Sequence[Submission],
    shared: Mapping[str, Any],
) -> None:
    best = max(rivals, key=lambda s: s.mean("total") or 0)
    compared = [submission] if best is submission else [submission, best]
    sizes = class_size(_per_class(compared), methods=[one.id for one in compared])
    groups = _groups(rivals)
    figures = []
    for name, title, frame, draw, text in (
        ("class-size", "Average precision against class size", sizes, draw_class_size,
         f"Average precision of {row['method']} against class size; the table below holds the numbers."),
        ("groups", "mAP by group, among submissions that it is ranked with", groups, draw_groups,
         f"mAP by group of {len(rivals)} submissions; the leaderboard's table holds the numbers."),
    ):  # fmt: skip
        stem = f"{submission.id}.{name}"
        (folder / f"{stem}.svg").write_text(as_svg(draw(frame)), encoding="utf-8")
        write_data(frame, folder / f"{stem}.csv")
        figures.append({"stem": stem, "title": title, "text": text})
    classes = class_groups(submission.data["training_images"])
    per_class = [
        {"name": name, "group": group, "size": submission.data["training_images"][name],
         "ap": [run["ap"][name] for run in submission.data["runs"]]}
        for name, group in classes.items()
    ]  # fmt: skip
    per_class.sort(key=lambda item: -int(item["size"]))
    (folder / f"{submission.id}.json").write_text(json.dumps(submission.data, indent=1), encoding="utf-8")
    page = folder / f"{submission.id}.html"
    _page(page, "method", row=row, data=submission.data, figures=figures, per_class=per_class, **shared)


def _per_class(submissions: Sequence[Submission]) -> pd.DataFrame:
    rows = []
    for one in submissions:
        groups = class_groups(one.data["training_images"])
        for run in one.data["runs"]:
            for name, ap in run["ap"].items():
                values = (one.data["dataset"], one.id, one.data["method"], run["seed"], name, groups[name])
                rows.append((*values, one.data["training_images"][name], float("nan") if ap is None else ap))
    columns = ["dataset", "method", "title", "seed", "class_name", "group", "class_size", "ap"]
    return pd.DataFrame(rows, columns=columns).assign(overrides="", split="test")


def _groups(submissions: Sequence[Submission]) -> pd.DataFrame:
    rows = [
        (one.data["dataset"], one.data["method"], seed, group, value)
        for one in submissions
        for group, values in one.by_seed.items()
        for seed, value in values.items()
    ]
    return pd.DataFrame(rows, columns=["dataset", "method", "seed", "group", "value"])


def _page(path: Path, template: str, **values: Any) -> None:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mltbench.reports.leaderboard", ""), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    path.write_text(environment.get_template(f"{template}.html.jinja").render(**values), encoding="utf-8")
