"""Make data: behaviors act in environments, and what they did is kept."""
