"""MLflow: the store, uploads, and how run folders and MLflow are made to agree."""
