"""The causal language model: whole texts, one token at a time, and samples of it."""
