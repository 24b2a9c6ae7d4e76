"""Statistics of long-tailed label matrices, head-to-tail selection, and splits that keep the label balance."""
