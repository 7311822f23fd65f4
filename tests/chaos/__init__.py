"""What is promised of faults: short forms as tests, long forms as ``python -m tests.chaos NAME``."""
