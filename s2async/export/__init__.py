"""Exports what the state knows, in the formats that `formats.FORMATS` lists."""
