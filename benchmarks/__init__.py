"""Side-by-side measurements. Each is run from the repository: `python -m benchmarks.packing`."""
