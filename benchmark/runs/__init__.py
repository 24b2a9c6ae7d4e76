"""A run folder: who holds it, its state, journal and checkpoints; training in it, verifying it, predicting from it."""
