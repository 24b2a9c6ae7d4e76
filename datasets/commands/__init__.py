"""`mltbench data ...`."""
