"""The overall lift of the weights."""

from .registry import Sweep, register_sweep

register_sweep(
    Sweep(
        name="alpha",
        summary="overall lift of the re-balanced weights",
        reference="Sec. 4.5",
        methods=("r-bce",),
        grid={"method.alpha": (0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0)},
    )
)
