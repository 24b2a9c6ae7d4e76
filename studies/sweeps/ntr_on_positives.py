"""The ablation of Sec. 4.5: the same regularization on positive logits too."""

from .registry import Sweep, register_sweep

register_sweep(
    Sweep(
        name="ntr-on-positives",
        summary="tolerance on negatives alone against tolerance on positives too, kappa = 0",
        reference="Sec. 4.5",
        methods=("db", "db-symmetric"),
        grid={"method.negative_scale": (1.0, 2.0, 5.0, 10.0)},
        fixed={"method.kappa": 0},
    )
)
