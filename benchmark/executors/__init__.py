"""Where experiments run: one protocol, one file per way of running."""
