"""The one error that users see, and what its messages may say: close names, addresses without passwords."""

import difflib
import re
from collections.abc import Collection, Iterable


class InputError(ValueError):
    """Something that the user gave cannot be used; the message names the value, the choices and the cure."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Return the error for a `name` that is not among the `known` ones of its `kind`.

    >>> str(unknown_name("method", "db-focl", ["db", "db-focal"]))
    "unknown method 'db-focl'; did you mean 'db-focal'? known: db, db-focal"
    """
    choices = list(known)
    close = difflib.get_close_matches(name, choices, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return InputError(f"unknown {kind} {name!r}{hint} known: {', '.join(choices) or '(none)'}")


def require_known(kind: str, name: str, known: Collection[str]) -> None:
    """Check that a name is among the known ones of its kind.

    Raises:
        InputError: if it is not, as `unknown_name` says it.
    """
    if name not in known:
        raise unknown_name(kind, name, known)


def without_password(text: str) -> str:
    """A URI, or a text with URIs in it, that may be shown and recorded."""
    return re.sub(r"(://[^:/@\s]*):[^/\s]*@", r"\1:***@", text)
