"""Transformers' own model with the weights of ours, and tokens for both."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from isthmus.testing import tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def original(llm: Any, family: Any = AutoModelForCausalLM) -> Any:
    """transformers' own model with the same weights, on its plainest attention."""
    config = copy.deepcopy(llm.model.config)
    config._attn_implementation = "eager"
    model = family.from_config(config, attn_implementation="eager").eval()
    model.load_state_dict(llm.model.state_dict())
    return model


def ids(count: int, seed: int = 0) -> Tensor:
    """So many tokens, none of which is a control token."""
    torch.manual_seed(count + seed)
    return torch.randint(3, len(TOKENIZER), (count,))
