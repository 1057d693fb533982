"""The command line: words in, words out; it decides nothing."""
