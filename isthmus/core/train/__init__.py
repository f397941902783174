"""Training: from a typed run to checkpoints.

`run` is the table of contents; `stage` is one stage; `engine` takes its optimizer steps.
"""
