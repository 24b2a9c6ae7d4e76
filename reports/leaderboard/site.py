"""The static site: a ranked table, one page per method, the rules, a machine-readable index."""

import json
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from ... import __version__
from ...benchmark.training.metrics import SCORE_NAMES
from ...datasets.long_tail.statistics import HEAD_AT_LEAST, TAIL_BELOW
from ...errors import InputError
from ...files import writing
from ..figures.class_size import class_size, draw_class_size
from ..figures.groups import draw_groups
from ..figures.registry import write_data
from ..figures.style import as_svg
from ..pages.web import adapt_figures, page_files, templates
from ..results.significance import paired_difference
from .check import OWN_FILE, Fault, check, known_datasets
from .submission import Submission, class_groups, read_json

FILTERS = {"dataset": "dataset", "backbone": "backbone", "pretraining": "pre-training", "recipe": "protocol"}
INDEX_FORMAT = "mltbench-leaderboard-1"


# Why files are left out, by name.
Rejected: TypeAlias = dict[str, list[str]]


def read_folder(folder: Path) -> tuple[list[Submission], Rejected]:
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
    rejected: Rejected = {}
    known = known_datasets(folder)
    for path in paths:
        try:
            data = read_json(path)
            faults: list[Fault | InputError] = list(check(data, known))
            if not faults and data["id"] in accepted:
                faults = [Fault(field="id", value=repr(data["id"]), cure="another submission has it; choose another")]
        except InputError as error:
            faults = [error]
        if faults:
            rejected[path.name] = list(map(str, faults))
        else:
            accepted[data["id"]] = Submission(data=data)
    order = sorted(accepted.values(), key=lambda one: (one.data["dataset"], -one.scores["total"].mean()))
    return order, rejected


def ranks_within_noise(results: Mapping[str, Mapping[Any, float]]) -> dict[str, int]:
    """Rank of each: one more than how many others are better beyond noise.

    Another is better beyond noise if the 95 % interval of the paired difference over shared seeds lies above zero; that
    of one seed is infinite. `results` are mAP by name and seed.

    >>> ranks_within_noise({"a": {0: 70.0, 1: 71.0, 2: 72.0}, "b": {0: 60.0, 1: 61.0, 2: 62.5}, "c": {0: 71.0}})
    {'a': 1, 'b': 2, 'c': 1}
    """

    def is_better(other: Mapping[Any, float], own: Mapping[Any, float]) -> bool:
        shared = sorted(set(other) & set(own))
        return bool(shared) and paired_difference([other[s] for s in shared], [own[s] for s in shared]).low > 0

    return {name: 1 + sum(is_better(other, own) for other in results.values()) for name, own in results.items()}


def build_site(
    folder: Path, site: Path, *, on_page: Callable[[str], None] = lambda name: None
) -> tuple[list[Submission], Rejected]:
    """Turn a folder of submissions into a site; what was there before is replaced as a whole.

    Raises:
        InputError: if there is no submission, or `site` holds something else, or cannot be written.
    """
    submissions, rejected = read_folder(folder)
    if site.exists() and not _is_leaderboard(site):
        raise InputError(f"{site} holds something that is no leaderboard; give an empty or new folder with --out")
    with writing(f"the site to {site}", "give a writable folder with --out"):
        site.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=site.parent, prefix=".leaderboard-") as made:
            new = Path(made) / "site"
            _write_site(new, submissions, rejected, on_page)
            if site.exists():
                site.rename(Path(made) / "old")
            new.rename(site)
    return submissions, rejected


def _is_leaderboard(site: Path) -> bool:
    """Whether a folder may be replaced: it is empty, or `build_site` wrote it."""
    try:
        index = json.loads((site / "index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return site.is_dir() and not any(site.iterdir())
    return isinstance(index, dict) and index.get("format") == INDEX_FORMAT


def _write_site(
    site: Path, submissions: Sequence[Submission], rejected: Rejected, on_page: Callable[[str], None]
) -> None:
    (site / "methods").mkdir(parents=True)
    for name, text in zip(("page.css", "page.js"), page_files(), strict=True):
        (site / name).write_text(text, encoding="utf-8")
    for name in ("leaderboard.css", "schema.json"):
        shutil.copyfile(str(files(__package__) / name), site / name)
    boards: dict[tuple[str, ...], list[Submission]] = {}
    for submission in submissions:
        boards.setdefault(submission.board, []).append(submission)
    ranks: dict[str, str] = {}
    for rivals in boards.values():
        found = ranks_within_noise({one.id: one.scores["total"].to_dict() for one in rivals})
        ranks |= {name: f"{rank}{'=' * (list(found.values()).count(rank) > 1)}" for name, rank in found.items()}
    rows = []
    for submission in submissions:
        on_page(submission.id)
        rows.append(_row(submission, ranks[submission.id]))
        _write_method(site / "methods", submission, rows[-1], boards[submission.board])
    adapt_figures(site / "methods")
    _page(site / "index.html", "index", rows=rows, filters=FILTERS, rejected=rejected)
    _page(site / "rules.html", "rules", bounds={"head": HEAD_AT_LEAST, "tail": TAIL_BELOW})
    index = {"format": INDEX_FORMAT, "version": __version__, "submissions": rows}
    left_out = [{"file": name, "faults": faults} for name, faults in rejected.items()]
    _write_json(site / "index.json", index | {"rejected": left_out})


def _row(submission: Submission, rank: str) -> dict[str, Any]:
    data = submission.data
    keys = ("id", "method", "author", "code", "dataset", "dataset_digest", "backbone", "pretraining", "cost")
    return {
        **{key: data[key] for key in keys},
        "recipe": data["protocol"]["recipe"],
        "rank": rank,
        "page": f"methods/{submission.id}.html",
        "seeds": submission.scores.index.tolist(),
        "mean": _known(submission.scores.mean()),
        "deviation": _known(submission.scores.std(ddof=1)),
    }


def _known(values: pd.Series) -> dict[str, float | None]:
    return {str(name): None if math.isnan(value) else float(value) for name, value in values.items()}


def _write_method(folder: Path, submission: Submission, row: Mapping[str, Any], rivals: Sequence[Submission]) -> None:
    data = submission.data
    best = max(rivals, key=lambda one: one.scores["total"].mean())
    compared = [submission] if best is submission else [submission, best]
    sizes = class_size(_per_class(compared), methods=[one.id for one in compared])
    figures = []
    for name, title, frame, draw, text in (
        ("class-size", "Average precision against class size", sizes, draw_class_size,
         f"Average precision of {row['method']} against class size; the table below holds the numbers."),
        ("groups", "mAP by group, among submissions that it is ranked with", _groups(rivals), draw_groups,
         f"mAP by group of {len(rivals)} submissions; the leaderboard's table holds the numbers."),
    ):  # fmt: skip
        file = f"{submission.id}.{name}"
        (folder / f"{file}.svg").write_text(as_svg(draw(frame)), encoding="utf-8")
        write_data(frame, folder / f"{file}.csv")
        figures.append({"file": file, "title": title, "text": text})
    per_class = [
        {"name": name, "group": group, "size": data["training_images"][name],
         "ap": [run["ap"][name] for run in data["runs"]]}
        for name, group in class_groups(data["training_images"]).items()
    ]  # fmt: skip
    per_class.sort(key=lambda item: -int(item["size"]))
    _write_json(folder / f"{submission.id}.json", data)
    page = folder / f"{submission.id}.html"
    _page(page, "method", row=row, data=data, figures=figures, per_class=per_class, root="../")


def _per_class(submissions: Sequence[Submission]) -> pd.DataFrame:
    """The classes of submissions as `load_per_class` returns those of runs."""
    rows = []
    for data in (one.data for one in submissions):
        groups = class_groups(data["training_images"])
        for run in data["runs"]:
            labels = (data["dataset"], data["id"], data["method"], run["seed"])
            rows += [(*labels, name, groups[name], data["training_images"][name], ap) for name, ap in run["ap"].items()]
    columns = ["dataset", "method", "title", "seed", "class_name", "group", "class_size", "ap"]
    frame = pd.DataFrame(rows, columns=columns).assign(overrides="", split="test")
    return frame.astype({"ap": "float64"})


def _groups(submissions: Sequence[Submission]) -> pd.DataFrame:
    """The scores of submissions as `groups_frame` returns those of a table."""
    frames = []
    for one in submissions:
        long = one.scores.rename_axis("seed").reset_index().melt("seed", var_name="group", value_name="value")
        frames.append(long.dropna().assign(dataset=one.data["dataset"], method=one.data["method"]))
    return pd.concat(frames, ignore_index=True)[["dataset", "method", "seed", "group", "value"]]


def _page(path: Path, template: str, *, root: str = "", **values: Any) -> None:
    page = templates(str(__package__)).get_template(f"{template}.html.jinja")
    text = page.render(version=__version__, groups=SCORE_NAMES, root=root, **values)
    path.write_text(text, encoding="utf-8")


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
