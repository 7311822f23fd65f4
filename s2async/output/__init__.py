"""Crops as files: GeoTIFF, quicklooks, their tags, files of others in their place, and moves of folders."""
