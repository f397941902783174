"""Built-in sources: where samples come from."""
