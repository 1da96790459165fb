"""From episodes to weights: loss, update, feed, rounds, run directory."""
