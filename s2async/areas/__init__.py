"""The user's areas: reading their files, checking polygons, naming folders."""
