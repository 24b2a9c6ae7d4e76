"""Anybody's labels and images: CSV, COCO JSON and VOC XML become a dataset with three splits."""
