"""Measurements on the sandbox's whole year: counts that are exact, and figures of the process."""
