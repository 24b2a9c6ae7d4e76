"""A dataset as a folder of arrays and image caches: written, checked, opened."""
