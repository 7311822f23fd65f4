"""Numbers of areas: what is wanted, formulas and indices, and statistics of pixels."""
