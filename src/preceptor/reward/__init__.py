"""Reward: a dataset of preference pairs goes in, a reward model with an honest report comes out."""
