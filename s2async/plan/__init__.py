"""Estimates what a run will save and cost before it starts."""
