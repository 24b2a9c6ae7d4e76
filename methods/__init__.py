"""What is compared: equations, losses, samplers, heads, and the catalogue of the paper's methods."""
