"""The training store: episodes as one interleaved memory map, and how rows are read from it."""
