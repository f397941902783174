"""Language models that come with isthmus."""
