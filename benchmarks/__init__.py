"""Measurements on the sandbox's whole year: exact counts, and figures of the process."""
