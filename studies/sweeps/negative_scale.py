"""Fig. 7b: how tolerant the loss is to negatives."""

from .registry import Sweep, register_sweep

register_sweep(
    Sweep(
        name="lambda",
        summary="slope on negatives, without the class-specific bias (kappa = 0)",
        reference="Fig. 7b",
        methods=("db",),
        grid={"method.negative_scale": (1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0)},
        fixed={"method.kappa": 0},
    )
)
