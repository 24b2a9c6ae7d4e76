"""Fig. 6: from ERM to DB, one step at a time."""

from .registry import Sweep, register_sweep

register_sweep(
    Sweep(
        name="stepwise",
        summary="ERM, then re-sampling, then re-balanced weights, then negative tolerance",
        reference="Fig. 6",
        methods=("erm", "rs", "r-bce", "db"),
    )
)
