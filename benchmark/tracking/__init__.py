"""MLflow: the store, uploads, and what brings both into agreement."""
