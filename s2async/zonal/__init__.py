"""Values of areas: what is requested, formulas and indices, and statistics of pixels."""
