"""What the numbers of a reflectance band mean: which offset a file has, how certain that is, and conversions."""
