"""Tests of making instruction data."""
