"""The class-specific bias nu, with lambda fixed: the paper has it in its supplement."""

from .registry import Sweep, register_sweep

register_sweep(
    Sweep(
        name="kappa",
        summary="scale of the class-specific bias nu, lambda fixed",
        reference="Sec. 4.5",
        methods=("db",),
        grid={"method.kappa": (0.0, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5)},
    )
)
