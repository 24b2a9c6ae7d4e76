"""What the commands of this room share in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import InputError
from ...terminal import console as console

if TYPE_CHECKING:
    from rich.table import Table

    from ..experiments.plan import Plan


def parse_seeds(text: str) -> list[int]:
    """Read `3` as seeds 0, 1, 2, and `4,5,6` as themselves.

    Raises:
        InputError: if it is neither.

    >>> parse_seeds("3"), parse_seeds("4,5,")
    ([0, 1, 2], [4, 5])
    """
    parts = [part.strip() for part in text.split(",")]
    numbers = [int(part) for part in parts if part.isdecimal()]
    if len(numbers) != len([part for part in parts if part]) or not numbers or (len(parts) == 1 and numbers[0] < 1):
        raise InputError(f"--seeds {text!r} must be a number from 1 (3 means seeds 0, 1, 2) or a list such as 4,5,6")
    return list(range(numbers[0])) if len(parts) == 1 else list(dict.fromkeys(numbers))


def plan_table(plan: Plan, finished: set[str]) -> Table:
    """The plan as a table: one row per method, its seeds and their states."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=f"Plan: {escape(plan.name)}", title_justify="left", caption="* is finished", caption_justify="left"
    )
    for column in ("method", "recipe", "backbone", "seeds", "images each", "experiment ids"):
        table.add_column(column, overflow="fold", justify="right" if column == "images each" else "left")
    rows: dict[str, list[int]] = {}
    for i, planned in enumerate(plan.experiments):
        rows.setdefault(planned.experiment.configuration_id, []).append(i)
    for indices in rows.values():
        group = [plan.experiments[i] for i in indices]
        marks = [f"{p.experiment.seed}{'*' if p.experiment.id in finished else ''}" for p in group]
        first = group[0]
        ids = " ".join(p.experiment.id[:8] for p in group)
        table.add_row(
            escape(first.label), first.recipe, first.experiment.backbone, " ".join(marks), f"{first.images:,}", ids
        )
    return table
