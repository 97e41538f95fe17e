"""Version 1 of the addresses."""
