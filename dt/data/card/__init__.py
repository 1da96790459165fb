"""The data card: what a log holds, and whether its returns can steer."""
