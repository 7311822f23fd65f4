"""The meaning of the numbers of a reflectance band: the offset of a file, its certainty, and conversions."""
