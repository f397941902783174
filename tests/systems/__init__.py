"""Whole systems: out of published folders, and as the YAML of their page has them."""
