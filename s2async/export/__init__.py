"""Tables of results: CSV, GeoJSON, GeoParquet and STAC."""
