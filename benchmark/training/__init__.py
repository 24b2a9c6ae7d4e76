"""How one experiment, or a cohort of them, is trained and scored."""
