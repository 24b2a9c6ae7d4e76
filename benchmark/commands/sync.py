"""`mltbench sync`."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape

from ...terminal import console, print_line
from ..tracking.sync import UPLOADED, agree, find
from .options import StoreOptions


def sync(
    *,
    everything: Annotated[bool, Parameter(name="--all")] = False,
    dry_run: bool = False,
    options: StoreOptions = StoreOptions(),
) -> int:
    """Upload ended runs that MLflow lacks, exactly once, and mend what a crash has left there.

    For example:

        mltbench sync
        mltbench sync --tracking-uri http://127.0.0.1:5000
        mltbench sync --dry-run

    Args:
        everything: Upload also what MLflow has: it changes nothing.
        dry_run: Say what is wrong and change nothing.
    """
    store = options.open()
    found = find(store, everything=everything)
    for finding in found:
        print_line(f"{finding.kind}: {finding.name}  {finding.message}")
    if not found:
        console().print("run folders and MLflow agree.")
    if dry_run or not found:
        return 0
    done, failed = Counter[str](), 0
    for finding, reason in agree(store, found):
        if reason:
            failed += 1
            console().print(f"[yellow]not done[/yellow] {finding.name}: {escape(reason)}", soft_wrap=True)
        else:
            done["uploaded" if finding.kind in UPLOADED else finding.kind] += 1
    left = len(found) - failed - done.total()
    console().print(
        f"uploaded {done['uploaded']}, closed {done['left open']}, deleted {done['there twice']}; "
        f"failed {failed}, left {left} as they are"
    )
    return int(failed > 0)
