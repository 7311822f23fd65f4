"""Exports the contents of the state in the formats listed in `formats.FORMATS`."""
