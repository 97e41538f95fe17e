"""Policy: a base model and a reward model go in, a policy improved by PPO comes out."""
