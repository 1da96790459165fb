"""Posts with votes: read, dealt into parts, tokenised, and their scores in the model's units."""
