"""Hyper-parameters tuned with Optuna."""
