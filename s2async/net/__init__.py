"""The network: requests, their limits and retries, and the account of bytes. No other room opens a connection."""
