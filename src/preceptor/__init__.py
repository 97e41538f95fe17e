"""preceptor turns what clinicians think of an AI agent's answers into a safer, better agent."""

__version__ = "0.1.0"
