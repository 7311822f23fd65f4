"""What is right of a run on a sandbox, worked out from local files without the package's own reading."""
