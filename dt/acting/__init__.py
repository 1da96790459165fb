"""A policy acts: reset, act, observe, and episodes played with it."""
