"""Devices and processes; the only room that knows jax.sharding."""
