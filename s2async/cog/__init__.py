"""Reading windows of remote COGs: headers, byte ranges, tiles, decoding, grids and masks."""
