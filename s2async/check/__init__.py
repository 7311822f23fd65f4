"""The check before a first run: a few local tests and about ten requests, and a verdict on each."""
