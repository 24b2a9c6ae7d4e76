"""Backbones, their initial weights, and the network that every method trains."""
