"""What stands between the environment's numbers and the model's: spaces, units, layout, limits."""
