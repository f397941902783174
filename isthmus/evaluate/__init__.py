"""Scoring: replies from files, or of a model, become outcomes, and outcomes become numbers.

Knows benchmarks by their contract alone. Importing it imports no torch.
"""
