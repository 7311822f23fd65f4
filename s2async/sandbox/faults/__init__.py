"""Faults that the sandbox's server can make on request."""
