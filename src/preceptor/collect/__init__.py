"""Stage 1, collect: clinicians' judgements come in, raw rows are stored once, and they go out only as asked."""
