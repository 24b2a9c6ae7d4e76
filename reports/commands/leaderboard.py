"""`mltbench leaderboard submit | check | build`."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.markup import escape

from ...benchmark.commands.options import StoreOptions
from ...datasets.commands.options import DataOptions
from ...datasets.dataset import Dataset
from ...datasets.registry import load_dataset
from ...errors import InputError, require_known
from ...files import writing
from ...terminal import console, print_line
from ..leaderboard.check import check as faults_of
from ..leaderboard.check import check_scores, known_datasets
from ..leaderboard.score_files import rescore
from ..leaderboard.site import build_site
from ..leaderboard.submission import group_means, make_submission, read_json
from ..results.rows import is_leading
from ..results.runs import runs_frame


def submit(
    *,
    method: str,
    author: str,
    code: str,
    dataset: str = "digits-mlt",
    recipe: str | None = None,
    overrides: str = "",
    chosen_on: str = "nothing",
    to: Path | None = None,
    results: StoreOptions = StoreOptions(),
) -> None:
    """Write a submission from the finished runs of one method, all its seeds.

    For example:

        mltbench leaderboard submit --method db --author "A. Name" --code https://example.org/code --to submissions

    Args:
        method: Whose runs are submitted.
        author: Who submits.
        code: Where the code is: an http or https address.
        dataset: The dataset.
        recipe: Runs of this recipe [default: that of most runs].
        overrides: Runs with these overrides, as `mltbench report` names them, such as mu=0.2.
        chosen_on: What hyper-parameters were chosen on: validation or nothing.
        to: The submission, a .json file, or a folder that gets ID.json [default: here].
    """
    store = results.open(create=False)
    runs = _choose(runs_frame(store), method, dataset, recipe, overrides)
    data = make_submission(store, runs, author=author, code=code, chosen_on=chosen_on)
    faults = faults_of(data, known_datasets())
    serious = [fault for fault in faults if fault.field not in ("dataset", "dataset_digest")]
    if serious:
        raise InputError("the submission would not pass its check:\n" + "\n".join(f"  {fault}" for fault in serious))
    path = to if to and to.suffix == ".json" else (to or Path()) / f"{data['id']}.json"
    with writing(str(path), "give a writable file with --to"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, indent=1), encoding="utf-8")
    print_line(f"{data['method']} on {dataset}, seeds {', '.join(str(run['seed']) for run in data['runs'])}: {path}")
    for fault in faults:
        print_line(f"note: {fault}")
    print_line(f"Next: mltbench leaderboard check {shlex.quote(str(path))}")


def check(
    files: list[Path],
    /,
    *,
    scores: tuple[str, ...] = (),
    dataset: str = "digits-mlt",
    datasets: Path | None = None,
    data: DataOptions = DataOptions(),
) -> int:
    """Check submissions: schema, digest, seeds, arithmetic; or score per-image scores again.

    For example:

        mltbench leaderboard check db.json
        mltbench leaderboard check db.json --scores 0=seed0/test_scores.npz
        mltbench leaderboard check test_scores.npz --dataset digits-mlt

    Args:
        files: Submissions (.json), or per-image scores (.npz), logits or probabilities of any precision.
        scores: SEED=FILE.npz: per-image scores of a seed, scored again; repeatable.
        dataset: Of .npz files.
        datasets: Folder whose datasets.json names further datasets.
    """
    bad = False
    for path in files:
        if path.suffix == ".npz":
            opened = load_dataset(dataset, data_root=data.data_root)
            sizes = dict(zip(opened.classes, opened.statistics.counts.tolist(), strict=True))
            means = group_means(_rescored(path, opened), sizes)
            shown = ", ".join(f"{group} {value:.2f}" for group, value in means.items())
            print_line(f"{path}: scored again on the test split of {dataset}: {shown}")
            continue
        faults = _faults_of_file(path, scores, datasets, data)
        bad |= bool(faults)
        print_line(f"{path}: {len(faults)} fault{'s'[: len(faults) > 1]}" if faults else f"{path}: good")
        for fault in faults:
            print_line(f"  {fault}")
    return int(bad)


def _faults_of_file(path: Path, scores: Sequence[str], datasets: Path | None, data: DataOptions) -> list[Any]:
    try:
        submission = read_json(path)
    except InputError as error:
        return [error]
    faults: list[Any] = list(faults_of(submission, known_datasets(datasets)))
    for text in [] if faults else scores:
        seed, _, file = text.partition("=")
        if not seed.isdecimal() or not file:
            raise InputError(f"--scores {text!r} must be SEED=FILE.npz, such as 0=test_scores.npz")
        opened = load_dataset(submission["dataset"], data_root=data.data_root)
        digest = submission["dataset_digest"]
        if opened.digest != digest:
            raise InputError(f"{opened.name} has digest {opened.digest[:12]} here, the submission says {digest[:12]}")
        faults += check_scores(submission, int(seed), _rescored(Path(file), opened))
    return faults


def _rescored(path: Path, dataset: Dataset) -> dict[str, float | None]:
    found = rescore(path, dataset)
    for remark in found.remarks:
        print_line(f"{path}: {remark}")
    return found.ap


def build(folder: Path, /, *, out: Path = Path("leaderboard")) -> None:
    """Turn a folder of submissions into a static site; broken ones are listed with reasons and left out.

    For example: `mltbench leaderboard build submissions --out site`

    Args:
        folder: Folder of submissions (.json files), perhaps with a datasets.json.
        out: Folder of the site; a site that is there is replaced.
    """
    with console().status("checking") as status:
        accepted, rejected = build_site(folder, out, on_page=lambda name: status.update(f"drawing {name}"))
    for name, faults in rejected.items():
        console().print(f"[yellow]left out[/yellow] {escape(ascii(name)[1:-1])}", soft_wrap=True)
        for fault in faults:
            print_line(f"  {fault}")
    print_line(f"{len(accepted)} submission{'s'[: len(accepted) != 1]}, {len(rejected)} left out: {out / 'index.html'}")


def _choose(runs: pd.DataFrame, method: str, dataset: str, recipe: str | None, overrides: str) -> pd.DataFrame:
    own = runs[(runs.state == "finished") & (runs.dataset == dataset)]
    if own.empty:
        raise InputError(f"no finished run on {dataset!r}; there are runs on: {', '.join(sorted(set(runs.dataset)))}")
    require_known(f"method with finished runs on {dataset}", method, sorted(set(own.method)))
    own = own[own.method == method]
    chosen = own[(own.overrides == overrides) & ((own.recipe == recipe) if recipe else True)]
    if chosen.empty:
        there = ", ".join(sorted({f"recipe {r.recipe}, overrides {r.overrides!r}" for r in own.itertuples()}))
        raise InputError(
            f"no finished run of {method} on {dataset} with these --recipe and --overrides; there are: {there}"
        )
    return chosen[is_leading(chosen, "method")]
