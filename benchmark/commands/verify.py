"""`mltbench verify`."""

import shlex
import tempfile
from pathlib import Path

from rich.text import Text

from ...datasets.commands.options import DataOptions
from ...datasets.registry import prepare
from ...terminal import console, print_line, table_of
from ..runs.folder import RunFolder
from ..runs.verification import changed_conditions, compare_runs, last_scores, train_again, verification_job
from .options import PluginOptions, ResultsOptions
from .plans import PlanProgress
from .runs import Named, the_one


def verify(
    run: str,
    /,
    *,
    plugins: PluginOptions = PluginOptions(),
    results: ResultsOptions = ResultsOptions(),
    data: DataOptions = DataOptions(),
) -> int:
    """Train a finished CPU run again, with its own number of threads, and say whether the bits agree.

    Compared are the weights, the test scores, the average precision per class and every metric in the journal. The
    exit status is 0 when all bits agree and 1 when some do not. Nothing of the run is changed.

    For example: `mltbench verify 3f2a91c0`

    Args:
        run: Experiment or configuration id; a unique beginning is enough, or a name such as 'DB, seed 0'.
    """
    files, runs = plugins.load(), results.root / "runs"
    folders = [RunFolder(path) for path in sorted(runs.glob("*")) if path.is_dir()]
    folder = the_one(
        run,
        [_named(each) for each in folders],
        f"under {runs}",
        f"mltbench status --out {shlex.quote(str(results.root))}",
    )
    with tempfile.TemporaryDirectory(prefix="mltbench-verify-") as scratch:
        job = verification_job(folder, Path(scratch), data_root=data.root, plugins=files)
        planned, _ = folder.planned()
        with console().status(f"preparing {planned.experiment.dataset}"):
            prepare(planned.experiment.dataset, data.root)
        with PlanProgress([planned], Path(scratch)) as progress:
            train_again(job)
            progress.end(planned)
        compared = compare_runs(folder.path, Path(job.members[0].folder))
        scores = last_scores(folder.path, Path(job.members[0].folder))
    bits = {True: Text("same", style="green"), False: Text("other", style="red")}
    columns = ("what", "bits", "how far")
    rows = ((item.what, bits[item.same], item.detail) for item in compared)
    console().print(table_of(columns, rows, prose=columns[2:]))
    changed = changed_conditions(folder.path)
    for name, (then, now) in changed.items():
        print_line(f"{name}: {then} then, {now} now")
    same = all(item.same for item in compared)
    for name, (before, after) in ({} if same else scores).items():
        print_line(f"mAP {name}: {100 * before:.2f} then, {100 * after:.2f} now")
    console().print(_verdict(folder.name, same, bool(changed)), soft_wrap=True)
    return 0 if same else 1


def _named(folder: RunFolder) -> Named[RunFolder]:
    planned = folder.planned_or_none()
    if planned is None:
        return Named(ids=(folder.name,), title="of another version", item=folder)
    ids = (folder.name, planned.experiment.configuration_id)
    return Named(ids=ids, title=f"{planned.label}, seed {planned.experiment.seed}", item=folder)


def _verdict(name: str, same: bool, changed: bool) -> str:
    if same:
        return f"[green]{name}: the bits agree[/green]"
    elsewhere = "machine or code have changed, see above; there, the same id ends with other last digits"
    why = elsewhere if changed else "machine and code are the same, so this is a defect"
    return f"[red]{name}: the bits do not agree[/red]; {why}"
