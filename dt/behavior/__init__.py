"""Behavior policies: what acts when data is collected. NumPy, unless a run or SB3 model acts."""
