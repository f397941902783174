"""Every built-in part. They come in by the registry, like a stranger's; nobody imports them."""
