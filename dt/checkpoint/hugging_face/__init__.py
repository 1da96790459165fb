"""Hugging Face's DecisionTransformerModel, read and written."""
