"""Width and height of images as label files write them."""

import math
from typing import Any

from ...errors import InputError


def number_of(value: Any) -> float | None:
    """A finite number, also where it is written as text; None for anything else.

    >>> number_of("64.0"), number_of(float("nan")), number_of(True)
    (64.0, None, None)
    """
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        return None
    try:
        return number if math.isfinite(number := float(value)) else None
    except (ValueError, OverflowError):
        return None


def shape_of(width: Any, height: Any, where: str) -> tuple[int, int] | None:
    """Width and height in pixels; None where one is missing, empty, null, 0 or a part of a pixel.

    Raises `InputError` if one is no number.
    """
    sides = []
    for name, value in (("width", width), ("height", height)):
        given = value.strip() if isinstance(value, str) else value
        number = 0.0 if given in (None, "") else number_of(given)
        if number is None and str(given).lower() != "nan":
            raise InputError(f"{where}: {name}={value!r:.40} is no number of pixels")
        sides.append(int(number) if number and number > 0 and number.is_integer() else None)
    return (sides[0], sides[1]) if sides[0] and sides[1] else None
