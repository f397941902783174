"""The shared engine: knows contracts, never a model family, a benchmark or a plugin."""
