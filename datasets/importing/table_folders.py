"""Which files of a folder make one table, and which split it is.

Three layouts: what `save_to_disk` of Hugging Face's `datasets` writes for one data set, with a list of its files; the
same for several splits; and files whose names or folders say the split, as `datasets` downloads and keeps them.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import InputError, some_of
from .annotations import SPLIT_NAMES, split_name

WORD = re.compile(rf"(?<![a-z])({'|'.join(sorted(SPLIT_NAMES, key=len, reverse=True))})(?![a-z])")


@dataclass(frozen=True, kw_only=True)
class TableFiles:
    """Files of one table, in the order of their rows."""

    files: Sequence[Path]
    split: str | None
    features: Mapping[str, Any] = field(default_factory=dict)  # of Hugging Face's `datasets`, by column


def table_files(folder: Path, endings: Sequence[Collection[str]]) -> list[TableFiles]:
    """The tables of a folder; of several kinds of files, by their endings, the first that is there counts.

    Raises `InputError` if there is no table, or the files do not say which split they are.
    """
    if (folder / "dataset_dict.json").is_file():
        names = _content(folder / "dataset_dict.json").get("splits")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise InputError(f"{folder / 'dataset_dict.json'} lists no splits")
        where = f"{folder / 'dataset_dict.json'}"
        return [_saved(folder / Path(name).name, split_name(name, where)) for name in names]
    if (folder / "state.json").is_file():
        return [_saved(folder, None)]
    found: list[Path] = []
    for kind in endings:
        paths = sorted(path for path in folder.rglob("*") if _is_table(path.relative_to(folder), kind))
        found = found or [path for path in paths if path.is_file()]
    if not found:
        shown = " ".join(ending for kind in endings for ending in sorted(kind))
        raise InputError(f"{folder} holds no labels: no .xml of VOC, and no table ({shown})")
    splits: dict[str | None, list[Path]] = {}
    for path in found:
        splits.setdefault(_split_of(path.relative_to(folder)), []).append(path)
    if None in splits and len(splits) > 1:
        bare, other = splits[None][0], next(paths[0] for split, paths in splits.items() if split)
        cure = "give the files one by one, as in --labels train=FILE --labels test=FILE"
        raise InputError(
            f"{folder}: {other.relative_to(folder)} is of a split, {bare.relative_to(folder)} is not; {cure}"
        )
    return [TableFiles(files=files, split=split, features=_features(folder)) for split, files in splits.items()]


def _is_table(path: Path, endings: Collection[str]) -> bool:
    # `datasets` keeps the results of its transformations as cache-*.arrow beside the data.
    unwanted = any(part.startswith((".", "cache-")) for part in path.parts)
    return path.name.lower().removesuffix(".gz").endswith(tuple(endings)) and not unwanted


def _split_of(path: Path) -> str | None:
    """The split by the last such word in the name of a file, else in those of its folders, the nearest first."""
    for part in (path.name.split(".")[0], *reversed(path.parts[:-1])):
        if words := WORD.findall(part.lower()):
            return split_name(words[-1], str(path))
    return None


def _saved(folder: Path, split: str | None) -> TableFiles:
    """What `save_to_disk` wrote into one folder."""
    state = _content(folder / "state.json")
    entries = state.get("_data_files")
    names = [entry.get("filename") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    files = [folder / Path(name).name for name in names if isinstance(name, str)]
    if not files or len(files) < len(names):
        raise InputError(f"{folder / 'state.json'} lists no files of data")
    if state.get("_indices_data_files"):
        cure = "load it and save it again with a newer version"
        raise InputError(f"{folder} is a selection of rows as old versions of `datasets` saved it; {cure}")
    if missing := [path for path in files if not path.is_file()]:
        raise InputError(f"{folder} lacks {some_of(path.name for path in missing)}, which its state.json lists")
    declared = state.get("_split")
    if split is None and isinstance(declared, str) and declared.lower() in SPLIT_NAMES:
        split = split_name(declared, str(folder))
    return TableFiles(files=files, split=split, features=_features(folder))


def _features(folder: Path) -> Mapping[str, Any]:
    path = folder / "dataset_info.json"
    found = _content(path).get("features") if path.is_file() else None
    return found if isinstance(found, dict) else {}


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object")
    return content
