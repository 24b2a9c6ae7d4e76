"""File names from names that somebody else has chosen: datasets, classes, methods, studies."""

from __future__ import annotations

import hashlib
import re

LONGEST = 100
# No file system and no shell minds these; `=` is not among them, so that no name looks like a changed one.
_OTHERS = re.compile(r"[^A-Za-z0-9._+@-]")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def safe_file_name(name: str) -> str:
    """A name as one part of a path, on any system: itself where it is safe, else what is safe of it and a digest.

    Separators, `..`, control characters, leading and trailing dots, leading hyphens, Windows' own names and more than
    100 characters are not safe. Different names get different file names; upper and lower case count as different.

    >>> safe_file_name("digits-mlt")
    'digits-mlt'
    >>> safe_file_name("../voc mlt")
    'voc-mlt=dadd0c6d'
    """
    kept = _OTHERS.sub("-", name[:LONGEST]).strip(".-")
    if kept == name and kept and not _RESERVED.fullmatch(kept):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{kept.replace('.', '-')[: LONGEST - 9] or 'unnamed'}={digest}"
