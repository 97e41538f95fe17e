"""The seed document's HTTP addresses."""
