"""What outlives the process: verified checkpoints, exported programs, other libraries' weights."""
