"""The published long-tailed sets: which images they have, where their files come from, how they are prepared."""
