"""STAC catalogues: the known catalogues, searching them, and turning items into scenes."""
