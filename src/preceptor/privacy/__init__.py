"""Clinical text and secrets in, de-identified text and sealed fields out; the ground under every stage."""
