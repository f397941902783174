"""Text encoders that come with isthmus."""
