"""Fig. 7a: the slope of the smoothing function."""

from .registry import Sweep, register_sweep

register_sweep(
    Sweep(
        name="beta",
        summary="slope of the smoothing function, mu = .2",
        reference="Fig. 7a",
        methods=("r-bce",),
        grid={"method.beta": (0.1, 0.5, 1.0, 2.0, 5.0, 7.0, 10.0, 20.0, 50.0, 100.0)},
        fixed={"method.mu": 0.2},
    )
)
