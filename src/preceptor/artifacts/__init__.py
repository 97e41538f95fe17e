"""Artifacts: immutable folders with a manifest, and where they came from."""
