"""Vision encoders that come with isthmus."""
