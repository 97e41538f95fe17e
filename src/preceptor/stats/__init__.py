"""Short statistics on plain numbers: agreement, intervals, and tests that stay valid at every look."""
