"""Built-in objectives: what a stage learns."""
