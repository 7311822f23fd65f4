"""Plans of grids: windows and masks of all areas on the grid of one raster, drawn together and stored on disk."""
