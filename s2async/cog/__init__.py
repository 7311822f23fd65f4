"""Reads windows of remote COGs: headers, byte ranges, blocks, decoding, grids and masks."""
