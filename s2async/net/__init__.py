"""The network: requests, their limits and retries, and byte accounting. No other package opens a connection."""
