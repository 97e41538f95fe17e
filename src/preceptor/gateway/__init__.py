"""Chat requests in; answers of the release that this clinician is assigned to, each stored for judgement, out."""
