"""The SQLite state file: schema, statements, reading and writing."""
