"""Faults that the sandbox's server can produce on request."""
