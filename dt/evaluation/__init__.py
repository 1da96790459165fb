"""Numbers: returns to score cards, intervals, verdicts, comparisons."""
