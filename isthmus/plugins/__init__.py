"""Every built-in part. They come in through the registry, like a stranger's; nobody imports them."""
