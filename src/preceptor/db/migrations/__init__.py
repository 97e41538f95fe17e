"""The schema over time; `sql/` holds the statements that are longer than a few lines."""
