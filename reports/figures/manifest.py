"""What lies in a folder of figures: `figures.json` lists them, and figures no longer drawn lose their files."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

MANIFEST = "figures.json"
ENDINGS = ("svg", "pdf", "png", "csv")


def update_manifest(folder: Path, drawn: Sequence[Mapping[str, Any]], asked: Collection[str] | None = None) -> None:
    """Write `figures.json`, and remove what it listed before and was not drawn again: it would show old results.

    Files that it did not list are nobody's but the user's and stay.

    Args:
        folder: of the figures; made where it is missing.
        drawn: the figures as they are listed, each with its `name`.
        asked: names that should have been drawn; listed figures of other names stay, with their files. None is all.

    Raises:
        OSError: if the folder cannot be written.
    """
    names = {figure["name"] for figure in drawn}
    before = [figure for figure in _listed(folder / MANIFEST) if figure["name"] not in names]
    kept = [figure for figure in before if asked is not None and figure["name"] not in asked]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_text(json.dumps([*kept, *drawn], indent=1), encoding="utf-8")
    for figure in before:
        if figure not in kept:
            for ending in ENDINGS:
                (folder / f"{figure['name']}.{ending}").unlink(missing_ok=True)


def _listed(path: Path) -> list[dict[str, Any]]:
    """Figures of a manifest; none where it is missing or something else, or a name leads out of the folder."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    figures = content if isinstance(content, list) else []
    return [one for one in figures if isinstance(one, dict) and _is_name(one.get("name"))]


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != "" and not set(value) & set("/\\\0")
