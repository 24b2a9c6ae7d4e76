"""How fast it is: measured, on one harness."""
