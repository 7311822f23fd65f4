"""The plan of a grid: windows and masks of all areas on one raster's grid, drawn at once and kept on disk."""
