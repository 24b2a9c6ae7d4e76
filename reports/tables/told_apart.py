"""In words, what differs between rows that only the beginning of their configuration's id tells apart."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from .rows import Row

# Of a digest, as much as tells it apart; of many differences, as many as a note can bear.
SHOWN_OF_VALUE = 20
SHOWN_DIFFERENCES = 4


def configuration_notes(rows: Sequence[Row], runs: pd.DataFrame) -> list[str]:
    """One note per method that has several rows with the same overrides: what its configurations differ in.

    Args:
        rows: of a table.
        runs: that they were made of, as `load_runs` returns them.
    """
    alike: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.configuration:
            alike.setdefault((row.method, row.overrides), []).append(row)
    columns = ["configuration_id", "settings", "dataset_digest", "numerics_version"]
    first = runs[columns].drop_duplicates("configuration_id").set_index("configuration_id").to_dict("index")
    return [
        _note({row.label: _settings(first[row.configuration]) for row in several})
        for several in alike.values()
        if len(several) > 1
    ]


def _settings(run: Mapping[Hashable, Any]) -> dict[str, str]:
    # A frame that somebody made by hand may lack them.
    told = json.loads(run["settings"]) if isinstance(run["settings"], str) else {}
    settings = {name: str(value) for name, value in told.items() if name != "seed"}
    return settings | {name: str(run[name]) for name in ("dataset_digest", "numerics_version")}


def _note(settings: Mapping[str, Mapping[str, str]]) -> str:
    names = sorted({name for own in settings.values() for name in own})
    differing = [name for name in names if len({own.get(name) for own in settings.values()}) > 1]
    if not differing:
        return f"{'; '.join(settings)}: their runs name no difference; `mltbench runs show ID` prints them."
    more = len(differing) - SHOWN_DIFFERENCES
    shown = differing[:SHOWN_DIFFERENCES]
    texts = []
    for label, own in settings.items():
        values = ", ".join(f"{name} {own.get(name, '–')[:SHOWN_OF_VALUE]}" for name in shown)
        texts.append(f"{label} has {values}")
    return "; ".join(texts) + (f"; and {more} more differences." if more > 0 else ".")
