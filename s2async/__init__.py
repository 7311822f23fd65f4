"""Cloud-free Sentinel-2 pictures of many small places, reading only the bytes under each polygon."""

__version__ = "0.1.0"
