"""The nouns of the command line, each with its commands."""
