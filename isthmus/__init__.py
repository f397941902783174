"""isthmus joins any vision encoder to any language model."""
