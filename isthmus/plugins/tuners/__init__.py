"""Tuners that come with isthmus: what a stage may do to a part."""
