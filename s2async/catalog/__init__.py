"""STAC catalogues: which ones are known, searching them, and items as scenes."""
