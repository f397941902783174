"""Built-in chat models: endpoints, batches, recorded answers, local models and our own."""
