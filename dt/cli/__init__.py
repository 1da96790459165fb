"""Command lines: arguments, progress bars, one line for a mistake."""
