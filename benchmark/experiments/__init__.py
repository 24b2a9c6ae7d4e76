"""What is run: recipes, experiments as values, plans of them."""
