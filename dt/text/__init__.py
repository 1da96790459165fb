"""Text as a decision process: the prefix is the state, a token the action, the vote the reward."""
