"""Built-in templates: how conversations are written out for a language model."""
