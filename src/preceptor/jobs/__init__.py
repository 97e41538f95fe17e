"""Rounds run in the background: a queue on the same database, workers, and the triggers that fill it."""
