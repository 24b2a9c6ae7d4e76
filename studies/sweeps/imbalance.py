"""The same methods as the tail gets longer."""

from ...datasets.sources.digits_mlt import RATIOS, variant_name
from .registry import Sweep, register_sweep

register_sweep(
    Sweep(
        name="imbalance",
        summary="the steps from ERM to DB as the tail gets longer, at equal numbers of training images",
        reference="not in the paper",
        methods=("erm", "rs", "r-bce", "db"),
        variants={"digits-mlt": (*map(variant_name, RATIOS), "digits-mlt")},
    )
)
