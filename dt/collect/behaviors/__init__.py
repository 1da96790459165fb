"""What acts while data is collected, one kind a file."""
