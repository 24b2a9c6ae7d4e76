"""The bias as the paper prints it, against the one in the code that made its numbers."""

from .registry import Sweep, register_sweep

register_sweep(
    Sweep(
        name="nu-variant",
        summary="nu as in the paper against nu divided by lambda, as published",
        reference="Eq. 9; the paper does not know of it",
        methods=("nt-bce", "db", "db-focal"),
        grid={"method.nu": ("published", "paper")},
    )
)
