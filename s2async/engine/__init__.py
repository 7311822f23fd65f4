"""A run: the feeder, a bounded queue, the workers that do the steps of jobs, and the recording of outcomes."""
