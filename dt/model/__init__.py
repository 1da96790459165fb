"""The decision transformer: tokens, embeddings, transformer, heads."""
