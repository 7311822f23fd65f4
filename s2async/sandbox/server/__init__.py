"""The local STAC API and COG server, in its own process."""
