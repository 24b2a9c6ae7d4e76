"""Finished runs, read from MLflow's SQLite file without MLflow: its import takes longer than all else of a start."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

PATIENCE_SECONDS = 1.0

FINISHED = """
SELECT name.value FROM runs
JOIN experiments USING (experiment_id)
JOIN tags AS name ON name.run_uuid = runs.run_uuid AND name.key = 'mltbench.experiment_id'
JOIN tags AS kind ON kind.run_uuid = runs.run_uuid AND kind.key = 'mltbench.kind' AND kind.value = 'experiment'
WHERE experiments.name = ? AND experiments.lifecycle_stage = 'active'
    AND runs.lifecycle_stage = 'active' AND runs.status = 'FINISHED'
"""


def sqlite_file(tracking_uri: str) -> Path | None:
    """The file of a plain SQLite URI; None of any other."""
    kind, _, path = tracking_uri.partition(":///")
    return Path(path) if kind == "sqlite" and path and "?" not in path else None


def finished_ids(database: Path, dataset: str) -> set[str] | None:
    """Experiment ids of a dataset's finished runs; None where only MLflow can tell.

    That is where a file is none of MLflow's, where its tables are not those of the installed MLflow, which then refuses
    them or makes them anew, and where somebody has locked it.
    """
    try:
        address = f"file:{quote(str(database.resolve()))}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=PATIENCE_SECONDS)) as connection:
            if connection.execute("SELECT version_num FROM alembic_version").fetchall() != [(_newest_version(),)]:
                return None
            return {name for (name,) in connection.execute(FINISHED, (f"mltbench/{dataset}",))}
    except (sqlite3.Error, OSError):
        return None


def _newest_version() -> str | None:
    """Version of the tables that the installed MLflow wants: the one that none of its migrations starts from."""
    mlflow = find_spec("mlflow")
    folder = Path(str(mlflow and mlflow.origin)).parent / "store" / "db_migrations" / "versions"
    texts = [file.read_text(encoding="utf-8") for file in folder.glob("*.py")]
    ends, starts = (
        {found for text in texts for found in re.findall(rf'^{name} = "(\w+)"', text, re.MULTILINE)}
        for name in ("revision", "down_revision")
    )
    return (ends - starts).pop() if len(ends - starts) == 1 else None
