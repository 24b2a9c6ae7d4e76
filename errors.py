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
    >>> str(unknown_name("key", "recipe.lr", ["recipe.plain", "recipe.learning_rate"]))
    "unknown key 'recipe.lr'; did you mean 'recipe.learning_rate'? known: recipe.plain, recipe.learning_rate"
    """
    choices = list(known)
    # People shorten names to the first letters of their words.
    shortened = [choice for choice in choices if _initials(choice) == name.lower()]
    close = shortened or difflib.get_close_matches(name, choices, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return InputError(f"unknown {kind} {name!r}{hint} known: {', '.join(choices) or '(none)'}")


def _initials(name: str) -> str:
    """`recipe.lr` for `recipe.learning_rate`."""
    owner, dot, last = name.rpartition(".")
    return owner + dot + "".join(word[:1] for word in re.split("[-_+ ]", last))


def some_of(names: Iterable[str], shown: int = 3) -> str:
    """The first of many names, and how many more there are.

    >>> some_of(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    found = list(names)
    rest = len(found) - shown
    # One more name takes no more room than to say so.
    return ", ".join(found) if rest <= 1 else f"{', '.join(found[:shown])} and {rest} more"


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
