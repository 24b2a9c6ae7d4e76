"""What is searched: hyper-parameter studies over experiments."""
