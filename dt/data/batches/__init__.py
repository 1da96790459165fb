"""Batches cut out of the store: a pure function of (seed, step)."""
