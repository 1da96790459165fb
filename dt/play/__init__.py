"""Environments step, episode after episode. No JAX."""
