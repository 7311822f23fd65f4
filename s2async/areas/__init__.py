"""Areas of the user: reading their files, checking polygons, naming folders."""
