"""Searches for the best input: each knows a problem's values and slopes, and nothing of models."""
