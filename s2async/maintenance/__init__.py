"""Commands that compare the state with the disk: verify, prune, rebuild, and guards."""
