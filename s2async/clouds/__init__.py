"""Cloud rules: which assets show whether an area is clear, what is counted in them, and what follows from it."""
