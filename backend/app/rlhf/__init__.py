"""The three training commands of the seed document."""
