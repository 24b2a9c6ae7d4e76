"""Figures: one file per figure, each a function of a DataFrame; `registry.py` draws all that have data."""
