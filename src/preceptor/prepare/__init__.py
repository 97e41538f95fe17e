"""Curated judgements in, a versioned dataset of preference pairs out; no raw text is read here."""
