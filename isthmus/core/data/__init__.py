"""From records on disk to batches: pictures, spans, labels, mixtures, plans and loading."""
