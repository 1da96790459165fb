"""Words and pictures: cards as tables, JSON, Markdown and plots."""
