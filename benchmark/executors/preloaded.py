"""What workers are forked with; imported in the process that they are forked from alone, see `forge`."""

from __future__ import annotations

import gc
from importlib import import_module

# What a worker needs for its first step. None of it starts a thread of torch's or touches a GPU.
NEEDED = ("..runs.cohort", "..training.shared_trunk", "..training.training_run")

# Collections, which find nothing here, take a fifth of torch's import. Frozen, what is here stays shared.
gc.disable()
for name in NEEDED:
    import_module(name, __package__)
gc.freeze()
gc.enable()
