"""A local STAC API and COG server on generated scenes."""
