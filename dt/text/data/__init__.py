"""Posts with votes: read, told apart into parts, tokenised, and their scores in the model's units."""
