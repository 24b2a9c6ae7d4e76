"""The sampler's own settings: images per class visit, and N_e."""

from .registry import Sweep, register_sweep

register_sweep(
    Sweep(
        name="sampling",
        summary="images per class visit, and visits per epoch (N_e as a share of n_max), one at a time",
        reference="Sec. 4.2; the paper shows neither",
        methods=("rs", "db"),
        grid={"method.images_per_visit": (1, 2, 3, 6, 12), "method.epoch_fraction": (0.125, 0.25, 0.5, 1.0)},
        together=False,
    )
)
