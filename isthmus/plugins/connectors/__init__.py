"""Connectors that come with isthmus."""
