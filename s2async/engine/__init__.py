"""One run: the pipeline, its queue, its workers, and its progress."""
