"""What a run will find and cost, before it starts."""
