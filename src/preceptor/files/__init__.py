"""Durable files: written in one step, JSONL that names its lines."""
