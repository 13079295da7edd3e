"""Conversion-first ads retrieval and ranking: from raw event logs to served candidates."""

__version__ = "0.1.0"
