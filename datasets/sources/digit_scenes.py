"""Scenes of handwritten digits in coloured ink, rendered in integers so that every machine makes the same bytes.

The digits are scikit-learn's 1,797 real ones (8 x 8, values 0..16). All draws come from NumPy's `RandomState`, whose
streams NumPy promises never to change.
"""

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

SCENE_SIZE = 48
GLYPH_SIZES = (15, 25)
PLACEMENT_TRIES = 8

# Each ink is a range per channel, (low, high) of R, G, B. The first two are the classes of Digits-MLT; the others
# belong to the pretext task alone.
INKS: dict[str, tuple[tuple[int, int], tuple[int, int], tuple[int, int]]] = {
    "red": ((190, 256), (20, 100), (20, 100)),
    "blue": ((20, 100), (60, 130), (190, 256)),
    "yellow": ((190, 256), (180, 240), (20, 90)),
    "green": ((20, 100), (170, 240), (20, 100)),
    "cyan": ((20, 100), (180, 240), (190, 256)),
    "violet": ((150, 210), (20, 90), (170, 240)),
    "white": ((220, 256), (220, 256), (220, 256)),
    "black": ((0, 35), (0, 35), (0, 35)),
}


def split_digits(seed: int) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Divide the real digits among train (half), validation (a fifth) and test (the rest), digit by digit.

    Returns, for each split, the digit images `(M, 8, 8)` of 0..16 and their values `(M,)`.
    """
    # scikit-learn takes 2.4 s to load, which every command that looks a dataset up would pay.
    from sklearn.datasets import load_digits

    images, values = load_digits(return_X_y=True)
    glyphs = images.reshape(-1, 8, 8).astype(np.uint8)
    generator = RandomState(seed)
    rows: dict[str, list[NDArray[np.int64]]] = {"train": [], "validation": [], "test": []}
    for digit in range(10):
        mixed = generator.permutation(np.flatnonzero(values == digit))
        half, seventh_tenth = len(mixed) // 2, len(mixed) * 7 // 10
        for name, part in zip(rows, np.split(mixed, [half, seventh_tenth]), strict=True):
            rows[name].append(part)
    joined = {name: np.concatenate(parts) for name, parts in rows.items()}
    return {name: (glyphs[index], values[index].astype(np.int64)) for name, index in joined.items()}


def render_scene(
    digits: list[tuple[int, str]], glyphs: NDArray[np.uint8], values: NDArray[np.int64], generator: RandomState
) -> NDArray[np.uint8]:
    """Render digits, each as (digit, ink name), over a coloured, noisy ground; `(48, 48, 3)` uint8 RGB.

    Digit images are drawn from `glyphs` `(M, 8, 8)`, whose digits are `values` `(M,)`.
    """
    canvas = _ground(generator)
    taken = np.zeros((SCENE_SIZE, SCENE_SIZE), dtype=np.int64)
    for digit, ink in digits:
        choices = np.flatnonzero(values == digit)
        size = _draw(generator, *GLYPH_SIZES)
        alpha = enlarge_glyph(glyphs[choices[_draw(generator, 0, len(choices))]], size)
        top, left = _place(taken, size, generator)
        colour = np.array([_draw(generator, low, high) for low, high in INKS[ink]], dtype=np.int64)
        area = canvas[top : top + size, left : left + size]
        area[:] = (area * (255 - alpha[..., None]) + colour * alpha[..., None] + 127) // 255
        taken[top : top + size, left : left + size] += 1
    noise = generator.randint(-22, 23, size=canvas.shape, dtype=np.int64)
    return (canvas + noise).clip(0, 255).astype(np.uint8)


def enlarge_glyph(glyph: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
    """Enlarge an 8 x 8 glyph of 0..16 to `(size, size)` of 0..255, bilinear in 8-bit fixed point."""
    position = ((2 * np.arange(size) + 1) * 8 * 256 // (2 * size) - 128).clip(0, 7 * 256)
    low, weight = position >> 8, position & 255
    high = np.minimum(low + 1, 7)
    wide = glyph.astype(np.int64) * 255 // 16
    rows = wide[low] * (256 - weight)[:, None] + wide[high] * weight[:, None]
    return np.asarray((rows[:, low] * (256 - weight) + rows[:, high] * weight) >> 16)


def _ground(generator: RandomState) -> NDArray[np.int64]:
    """Four random corner colours, blended over the scene."""
    corners = generator.randint(40, 190, size=(2, 2, 3), dtype=np.int64)
    along = np.arange(SCENE_SIZE)
    back = SCENE_SIZE - 1 - along
    rows = corners[0] * back[:, None, None] + corners[1] * along[:, None, None]
    blended = rows[:, :1] * back[:, None] + rows[:, 1:] * along[:, None]
    return np.asarray(blended // (SCENE_SIZE - 1) ** 2)


def _place(taken: NDArray[np.int64], size: int, generator: RandomState) -> tuple[int, int]:
    """Of a few random places, the one that covers the fewest pixels of earlier digits."""
    best = (taken.size * PLACEMENT_TRIES, 0, 0)
    for _ in range(PLACEMENT_TRIES):
        top, left = (_draw(generator, 0, SCENE_SIZE - size + 1) for _ in range(2))
        covered = int(taken[top : top + size, left : left + size].sum())
        if covered < best[0]:
            best = (covered, top, left)
        if covered == 0:
            break
    return best[1], best[2]


def _draw(generator: RandomState, low: int, high: int) -> int:
    # The default dtype of randint is the platform's long; naming it makes the stream the same on Windows.
    return int(generator.randint(low, high, dtype=np.int64))
