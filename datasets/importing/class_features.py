"""Names of classes in the metadata that Hugging Face's `datasets` writes into Parquet and Arrow files.

A feature is the JSON of that package: `{"names": [...], "_type": "ClassLabel"}`, a list of such (`List`, `Sequence`, or
a JSON list of one), an object of features, or anything else, which has no names.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import InputError

LISTS = ("Sequence", "List", "LargeList")
NO_LABEL = -1


def features_of(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """Features by column from the metadata of a schema; empty where there are none."""
    try:
        content = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        found = content["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def class_names(feature: Any, column: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """All names of classes by column, dotted for members of objects.

    >>> dict(class_names({"feature": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "_type": "List"}, "labels"))
    {'labels': ('cat', 'dog')}
    """
    if names := _names(feature):
        yield column, names
    elif (item := _item(feature)) is not None:
        yield from class_names(item, column)
    elif isinstance(feature, dict) and "_type" not in feature:
        for key, member in feature.items():
            yield from class_names(member, f"{column}.{key}")


def with_names(value: Any, feature: Any, where: str) -> Any:
    """A value with the names of its classes in place of their numbers; None for -1, which is no label.

    Raises `InputError` if a number has no name, or the value does not fit the feature.
    """
    if value is None:
        return None
    if names := _names(feature):
        if value == NO_LABEL:
            return None
        if not isinstance(value, int) or not 0 <= value < len(names):
            raise InputError(f"{where}: {value!r:.40} is no number of its {len(names)} classes, {names[0]!r} and so on")
        return names[value]
    if (item := _item(feature)) is not None:
        if isinstance(value, dict):  # the package keeps a sequence of objects as an object of lists
            members = item if isinstance(item, dict) else {}
            return {key: with_names(cell, [members.get(key)], where) for key, cell in value.items()}
        if not isinstance(value, list):
            raise InputError(f"{where}: {value!r:.40} is no list, which its features say it is")
        return [with_names(cell, item, where) for cell in value]
    if isinstance(value, dict) and isinstance(feature, dict) and "_type" not in feature:
        return {key: with_names(cell, feature.get(key), where) for key, cell in value.items()}
    return value


def _names(feature: Any) -> tuple[str, ...]:
    names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _item(feature: Any) -> Any:
    """The feature of each item of a list; None where the feature is no list."""
    if isinstance(feature, list) and len(feature) == 1:
        return feature[0]
    return feature.get("feature") if isinstance(feature, dict) and feature.get("_type") in LISTS else None
