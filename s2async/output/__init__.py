"""Crops as files: GeoTIFF, quicklooks, and moving folders."""
