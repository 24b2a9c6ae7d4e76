"""Names beside points where they cover nothing: no line, no point, no other name."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.path import Path
from numpy.typing import NDArray

from .style import GREY, SMALL, figure_of, plain

# Where a name may stand: directions, and distances in points. From the second distance a stroke ties it to its point.
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (0.8, 0.7), (-0.8, 0.7), (0.8, -0.7), (-0.8, -0.7))
DISTANCES = (5, 12, 20, 30)
CLEAR = 1.5  # pixels left free around a name


def name_points(*panels: tuple[Axes, Iterable[tuple[float, float, str]]]) -> list[str]:
    """Write names `(x, y, name)` beside their points, the most important first, and return those that found a place.

    Panels are axes of one figure with their points. Everything else is drawn and the limits are set before. A name that
    has no free place is left out.
    """
    for figure in {figure_of(axes) for axes, _ in panels}:
        figure.draw_without_rendering()  # so that the axes are where they will be
    return [name for axes, points in panels for name in _name_in(axes, points)]


def _name_in(axes: Axes, points: Iterable[tuple[float, float, str]]) -> Iterator[str]:
    taken, inside = _covered(axes), axes.get_window_extent()
    for x, y, name in points:
        for offset in _offsets():
            text = _write(axes, x, y, name, offset)
            box = text.get_window_extent().padded(CLEAR)
            free = not ((taken > box.min) & (taken < box.max)).all(axis=1).any()
            if free and inside.contains(*box.min) and inside.contains(*box.max):
                taken = np.concatenate([taken, _filled(*box.min, *box.max)])
                yield name
                break
            text.remove()


def _offsets() -> Iterator[tuple[float, float]]:
    for distance in DISTANCES:
        for right, up in DIRECTIONS:
            yield right * distance, up * distance


def _write(axes: Axes, x: float, y: float, name: str, offset: tuple[float, float]) -> Any:
    right, up = offset
    aligned: dict[str, Any] = {
        "ha": "left" if right > 0 else "right" if right < 0 else "center",
        "va": "center" if up == 0 else "bottom" if up > 0 else "top",
    }
    far = max(abs(right), abs(up)) > DISTANCES[0]
    stroke = {"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2} if far else None
    return axes.annotate(plain(name), (x, y), offset, textcoords="offset points", fontsize=SMALL, arrowprops=stroke,
                         **aligned)  # fmt: skip


def _covered(axes: Axes) -> NDArray[np.float64]:
    """Pixels `(K, 2)` that lines, points, bars and texts of the axes cover, dense enough that no name fits between."""
    found: list[NDArray[np.float64]] = [np.empty((0, 2))]
    for line in axes.lines:
        if str(line.get_linestyle()) != "None":
            found.append(_along(line.get_transform().transform_path(line.get_path())))
        found.append(line.get_transform().transform(line.get_xydata()))
    for collection in axes.collections:
        if isinstance(collection, PathCollection):
            found.append(collection.get_offset_transform().transform(collection.get_offsets()))
        elif isinstance(collection, LineCollection):
            found += [_along(collection.get_transform().transform_path(path)) for path in collection.get_paths()]
    for artist in (*axes.patches, *axes.texts):
        box = artist.get_window_extent()
        found.append(_filled(*box.min, *box.max))
    pixels = np.concatenate(found)
    return pixels[np.isfinite(pixels).all(axis=1)]


def _along(path: Path) -> NDArray[np.float64]:
    vertices = np.asarray(path.vertices, dtype=float)
    vertices = vertices[np.isfinite(vertices).all(axis=1)]
    return np.asarray(Path(vertices).interpolated(100).vertices) if len(vertices) > 1 else vertices


def _filled(left: float, bottom: float, right: float, top: float) -> NDArray[np.float64]:
    """Points of a rectangle, four pixels apart, its edges included."""
    x, y = (
        np.linspace(low, high, max(int(abs(high - low) // 4) + 2, 2)) for low, high in ((left, right), (bottom, top))
    )
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
