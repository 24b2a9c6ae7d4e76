"""The centre of the smoothing function."""

from .registry import Sweep, register_sweep

register_sweep(
    Sweep(
        name="mu",
        summary="centre of the smoothing function",
        reference="Sec. 4.5",
        methods=("r-bce",),
        grid={"method.mu": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)},
    )
)
