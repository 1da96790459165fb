"""Data is made: behaviours act in environments, and what they did is kept."""
