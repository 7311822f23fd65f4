"""The local STAC API and COG server, in a separate process."""
