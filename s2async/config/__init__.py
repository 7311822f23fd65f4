"""The configuration: its sections and types, TOML with line numbers, and error messages."""
