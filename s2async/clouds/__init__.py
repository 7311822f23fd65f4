"""Cloud rules: which assets tell whether an area is clear, what is counted in them, and what follows from it."""
