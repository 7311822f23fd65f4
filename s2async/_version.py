"""The version of the package; it imports nothing, so any module can import it."""

__version__ = "0.1.0"
