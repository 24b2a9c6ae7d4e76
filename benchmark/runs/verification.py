"""Verifying a finished run: it is trained again, and everything that it left is compared to the bit."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import InputError
from ..training.execution import Execution
from ..training.metrics import SCORE_NAMES
from .folder import RunFolder
from .job import Job, Member
from .journal import Entry, read_journal
from .provenance import code_version, machine
from .run import run_cohort

SCORES = tuple(f"{split}/{name}" for split in ("validation", "test") for name in SCORE_NAMES)
# What decides bits or may explain other ones.
CONDITIONS = ("mltbench", "commit", "source_digest", "python", "torch", "numpy", "system", "device_name")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One thing that a run left, then and now: whether it is the same to the bit, and how it differs if not."""

    what: str
    same: bool
    detail: str


def verification_job(folder: RunFolder, scratch: Path, *, data_root: Path, plugins: Sequence[str] = ()) -> Job:
    """The job that trains a finished run again, as it was trained.

    The new run's folder goes into `scratch`; `plugins` are the files that register the method, if it is user-defined.

    Raises:
        InputError: if the run is not finished, or was not trained on a CPU.
    """
    if not folder.state().is_finished:
        command = f"mltbench status --out {shlex.quote(str(folder.path.parents[1]))}"
        raise InputError(f"{folder.path} holds no finished run; `{command}` shows the states of runs")
    known = Execution.__dataclass_fields__
    execution = Execution(**{k: v for k, v in folder.entries()[0].details["execution"].items() if k in known})
    if execution.device != "cpu":
        raise InputError(
            f"{folder.name} was trained on {execution.device}; the bits of a GPU depend on the order in which it adds, "
            "so only runs on a CPU can be verified"
        )
    planned, _ = folder.planned()
    member = Member(
        experiment_json=planned.experiment.to_json(),
        folder=str(scratch / planned.experiment.id),
        weights=str(planned.weights.file) if planned.weights.file else None,
    )
    return Job(members=(member,), data_root=str(data_root), execution=execution, plugins=tuple(plugins))


def train_again(job: Job) -> None:
    """Run a verification.

    Raises:
        InputError: if it does not come to its end.
    """
    if not run_cohort(job):
        raise InputError(f"training it again failed: {RunFolder(job.members[0].folder).state().reason}")


def compare_runs(then: Path, now: Path) -> list[Comparison]:
    """Compare what two run folders hold, to the bit; costs and times apart."""
    weights = [torch.load(folder / "weights.pt", weights_only=True, map_location="cpu") for folder in (then, now)]
    arrays = [{name: tensor.numpy() for name, tensor in side.items()} for side in weights]
    compared = [_compare("weights", *arrays, unit="tensors")]
    if (then / "test_scores.npz").exists():
        scores = [_scores(folder) for folder in (then, now)]
        compared.append(_compare("test scores", *scores, unit="arrays"))
    reports = [json.loads((folder / "per_class.json").read_text(encoding="utf-8")) for folder in (then, now)]
    per_class = [
        {f"{split}, {name}": float("nan") if ap is None else ap
         for split, classes in report["average_precision"].items() for name, ap in classes.items()}
        for report in reports
    ]  # fmt: skip
    compared.append(_compare("average precision per class", *per_class, unit="values"))
    points = [_points(read_journal(folder)) for folder in (then, now)]
    return [*compared, _compare("metrics in the journal", *points, unit="points")]


def last_scores(then: Path, now: Path) -> dict[str, tuple[float, float]]:
    """The last mAP of each split and group that both run folders have, such as `test/total`, then and now."""
    before, after = (
        {name: value for entry in read_journal(folder) for name, value in entry.metrics.items() if name in SCORES}
        for folder in (then, now)
    )
    return {name: (before[name], after[name]) for name in SCORES if name in before and name in after}


def changed_conditions(folder: Path) -> dict[str, tuple[str, str]]:
    """What of machine and code is not as it was when the run in this folder was trained: name to (then, now)."""
    then = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    now: Mapping[str, str] = {**code_version(), **machine("cpu", int(then.get("threads", 1)))}
    names = [name for name in CONDITIONS if name in then and then[name] != now[name]]
    changed = {name: (str(then.get(name)), now[name]) for name in names}
    moves = [entry.details["moved_from"] for entry in read_journal(folder) if "moved_from" in entry.details]
    return changed | ({"resumed elsewhere": (moves[0], "one machine")} if moves else {})


def _compare(what: str, then: Mapping[str, Any], now: Mapping[str, Any], *, unit: str) -> Comparison:
    names = [*then, *(name for name in now if name not in then)]
    other = [name for name in names if name not in then or name not in now or not _same(then[name], now[name])]
    if not other:
        return Comparison(what=what, same=True, detail=f"{len(names)} {unit}")
    shared = [name for name in other if name in then and name in now and np.shape(then[name]) == np.shape(now[name])]
    differences = [
        np.max(np.abs(np.asarray(then[name], dtype=np.float64) - np.asarray(now[name], dtype=np.float64)))
        for name in shared
        if np.asarray(then[name]).dtype.kind in "fiu"
    ]
    largest = f", by at most {np.max(differences):.3g}" if differences else ""
    return Comparison(what=what, same=False, detail=f"{len(other)} of {len(names)} {unit} differ{largest}: {other[0]}")


def _same(first: Any, second: Any) -> bool:
    a, b = np.asarray(first), np.asarray(second)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _scores(folder: Path) -> dict[str, Any]:
    with np.load(folder / "test_scores.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def _points(entries: Sequence[Entry]) -> dict[str, float]:
    return {
        f"{name} after {entry.step} epochs": value
        for entry in entries
        for name, value in entry.metrics.items()
        if not name.startswith("cost/")
    }
