"""Raw judgements in, de-identified and trusted ones out: the last stage that sees raw clinical text."""
