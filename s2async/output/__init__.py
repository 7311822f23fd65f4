"""Crops as files: GeoTIFF, quicklooks, tags, foreign files in their place, and moves of folders."""
