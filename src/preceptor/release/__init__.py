"""An evaluation report in; a numbered release, refused or served, out."""
