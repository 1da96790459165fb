"""The reward model: texts -> scores, learned from pairs of answers or from votes."""
