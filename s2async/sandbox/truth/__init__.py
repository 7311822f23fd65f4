"""Correct results for a run on a sandbox, computed from local files without the package's own reading."""
