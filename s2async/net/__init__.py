"""HTTP: the only room that opens connections. Requests, retries, limits, and counting of bytes."""
