"""The model: named parts, how images enter the text, attention over packs, and generation."""
