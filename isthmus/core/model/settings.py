"""How answers are generated: settings alone, for whoever writes them down without a model."""

from __future__ import annotations

from pydantic import Field

from isthmus.core.contracts import Config


class Settings(Config):
    """How answers are generated."""

    max_new_tokens: int = Field(default=256, gt=0)
    """Tokens of an answer at most."""
    temperature: float = Field(default=0.0, ge=0)
    """0 takes the most likely token; above, tokens are drawn, the flatter the higher it is."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Draw from the fewest tokens that have this share of the probability between them."""
    seed: int = Field(default=0, ge=0)
    """What the draws follow from, with the prompt's number."""

    def in_use(self) -> dict[str, float]:
        """Those that an answer follows from: at temperature 0 nothing is drawn."""
        drawn = {"top_p": self.top_p, "seed": self.seed} if self.temperature else {}
        return {
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            **drawn,
        }
