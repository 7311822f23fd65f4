"""Commands that compare the state with the disk (verify, prune, rebuild), and the checks before a run."""
