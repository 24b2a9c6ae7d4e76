"""One file per data source; each registers its datasets with `mltbench.datasets.registry`."""
