"""A run: feeding, a bounded queue, workers that do the steps of jobs, and the recording of outcomes."""
