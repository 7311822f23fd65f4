"""Exports what the state knows: CSV, GeoJSON, GeoParquet and STAC. `formats.FORMATS` lists them."""
