"""Models: a name goes in; loaded weights, token ids, answers and scores come out."""
