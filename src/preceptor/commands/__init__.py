"""One file a group of commands: words in, the function of a stage or door called, a few lines printed."""
