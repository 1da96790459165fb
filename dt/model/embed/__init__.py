"""How observations, actions, returns and timesteps become token vectors."""
