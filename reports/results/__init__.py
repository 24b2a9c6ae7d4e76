"""What reports read: finished runs, scores per class, quoted rows, and what differences mean."""
