"""Addresses of SQLite files, as SQLAlchemy and MLflow read them, and of the folders in which a store keeps files."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit
from urllib.request import url2pathname

import sqlalchemy

from ...errors import InputError

# Below the results root: ARTIFACTS/dataset/run id/ARTIFACTS, the last of which MLflow appends.
ARTIFACTS = "artifacts"
# What all experiments of the suite are called in MLflow, in its filters and in SQL.
OURS = "name LIKE 'mltbench/%'"
IN_MEMORY = ("", ":memory:")


def sqlite_uri(path: Path) -> str:
    """The address of a SQLite file, whatever signs its path has.

    SQLAlchemy decodes `%41`, and takes what follows `?` as options. MLflow makes the folder above the file, and does
    not decode it first: where signs are quoted, the slashes are too, so that it sees none. Optuna fills in braces.

    >>> sqlite_uri(Path("/my results/mlflow.db"))
    'sqlite:////my results/mlflow.db'
    >>> sqlite_uri(Path("/feature%2Ftail/mlflow.db"))
    'sqlite:///%2Ffeature%252Ftail%2Fmlflow.db'
    """
    plain = f"sqlite:///{path.as_posix()}"
    is_plain = sqlite_file(plain) == path and "{" not in plain
    return plain if is_plain else f"sqlite:///{quote(os.fsencode(path.as_posix()), safe='')}"


def sqlite_file(uri: str) -> Path | None:
    """The file that an address means to SQLAlchemy; None if it is none of a SQLite file, or has options."""
    try:
        address = sqlalchemy.make_url(uri)
    except (sqlalchemy.exc.ArgumentError, ValueError):  # or a port that is no number
        return None
    if address.drivername != "sqlite" or address.host or address.database in (None, *IN_MEMORY) or address.query:
        return None
    return Path(str(address.database))


def checked_uri(given: str) -> str:
    """A tracking URI as it was given, without blanks around it; that of a SQLite file with its whole path.

    Raises:
        InputError: if it looks like the address of a SQLite file and is none.
    """
    uri = given.strip()
    scheme, colon, rest = uri.partition(":")
    if (scheme == "sqlite" and not rest.startswith("///")) or (not colon and Path(uri).is_file()):
        file = Path(rest.lstrip("/") if colon else uri).absolute()
        raise InputError(f"{uri!r} is no address of a SQLite file: in this folder that is {sqlite_uri(file)}")
    meant = sqlite_file(uri)
    if meant is None:
        return uri
    # Most people do not quote: a folder that is there as it was written is meant.
    written = Path(rest.removeprefix("///"))
    return sqlite_uri((written if written.parent.is_dir() and not meant.parent.is_dir() else meant).absolute())


def folder_of_uri(uri: str) -> Path | None:
    """The folder on this machine that an artifact address means; None if it is on a server.

    >>> folder_of_uri("file:///tmp/a%3Fb"), folder_of_uri("s3://bucket/a")
    (PosixPath('/tmp/a?b'), None)
    """
    parts = urlsplit(uri)
    if parts.scheme == "file":
        # As the file system reads the bytes, whatever the locale.
        return Path(url2pathname(parts.path) if os.name == "nt" else os.fsdecode(unquote_to_bytes(parts.path)))
    # A path, which may begin with the letter of a drive.
    return Path(uri) if len(parts.scheme) < 2 else None


def moved_to(root: Path, folder: Path, depth: int) -> Path:
    """Where a folder of artifacts lies under a results root: its last `depth` parts tell.

    One that is not of the suite's making, without ARTIFACTS as the first of them, stays where it is.

    >>> moved_to(Path("/new"), Path("/old/artifacts/digits-mlt"), 2)
    PosixPath('/new/artifacts/digits-mlt')
    """
    inside = folder.parts[-depth:]
    return root.joinpath(*inside) if len(inside) == depth and inside[0] == ARTIFACTS else folder


def point_into(file: Path) -> Path | None:
    """Let the addresses in MLflow's database point into its own folder, after both were moved or copied.

    Returns:
        The folder into which they pointed before; None if nothing was changed.
    """
    root = file.parent.resolve()
    with closing(sqlite3.connect(file, timeout=60)) as database, database:
        moved = {
            key: (folder, new)
            for key, uri in database.execute(f"SELECT experiment_id, artifact_location FROM experiments WHERE {OURS}")
            if (folder := folder_of_uri(uri)) and (new := moved_to(root, folder, 2)) != folder
        }
        for key, (_, new) in moved.items():
            runs = database.execute(
                "SELECT artifact_uri, run_uuid FROM runs WHERE experiment_id = ?", (key,)
            ).fetchall()
            local = [(folder, run) for uri, run in runs if (folder := folder_of_uri(uri))]
            addresses = [(moved_to(root, folder, 4).as_uri(), run) for folder, run in local]
            database.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (new.as_uri(), key)
            )
            database.executemany("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", addresses)
    return next(iter(moved.values()))[0].parent.parent if moved else None
