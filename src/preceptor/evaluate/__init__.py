"""A candidate policy and a baseline in; a report on answers, safety, distance and judges out."""
