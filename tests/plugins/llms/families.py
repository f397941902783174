"""Tiny configurations of decoder families, and what is known of each."""

from __future__ import annotations

from typing import Any

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
GEMMA = SHAPE | {"head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8}
MIXED = ["sliding_attention", "full_attention", "sliding_attention"]
NEOX = {key: value for key, value in SHAPE.items() if key != "num_key_value_heads"}
GPT = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128}
DROPLESS = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
OPT = {
    **{key: SHAPE[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")},
    **{"ffn_dim": 64, "max_position_embeddings": 128, "word_embed_proj_dim": 16, "dropout": 0.0},
}

RAGGED: dict[str, dict[str, Any]] = {
    "llama": SHAPE,
    "qwen2": SHAPE,
    "qwen3": SHAPE | {"head_dim": 8},
    "opt": OPT,
    "phi": SHAPE,
    "phi3": SHAPE,
    "mistral": SHAPE | {"sliding_window": 4},
    "gemma2": GEMMA | {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0},
    "gemma3_text": GEMMA | {"layer_types": MIXED},
    "gpt2": GPT | DROPLESS,
    "gpt_neox": NEOX,
    "cohere": SHAPE | {"logit_scale": 0.25},
    "granite": SHAPE | {"logits_scaling": 4.0, "embedding_multiplier": 3.0},
}
"""Families that run on packs as they are."""

PADDED: dict[str, dict[str, Any]] = {
    "stablelm": SHAPE,
    "bloom": {"hidden_size": 32, "n_layer": 3, "n_head": 4},
    "falcon": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4},
    "gpt_oss": SHAPE
    | {"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 4},
    "qwen2_moe": SHAPE
    | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    | {"sliding_window": 3, "use_sliding_window": True, "layer_types": ["sliding_attention"] * 3},
}
"""Families that drop segments, or attend in ways the ragged backend does not compute; Falcon did
until transformers 5.24."""

T5 = {
    **{"d_model": 32, "d_kv": 8, "d_ff": 64, "num_heads": 4, "num_layers": 3},
    **{"num_decoder_layers": 2, "dropout_rate": 0.0, "relative_attention_num_buckets": 8},
}
BART = {
    **{"d_model": 32, "encoder_layers": 3, "decoder_layers": 2, "max_position_embeddings": 128},
    **{"encoder_attention_heads": 4, "decoder_attention_heads": 4, "dropout": 0.0},
    **{"encoder_ffn_dim": 64, "decoder_ffn_dim": 64},
}
PAIRS: dict[str, dict[str, Any]] = {
    "t5": T5,
    "mt5": T5 | {"feed_forward_proj": "gated-gelu"},
    "umt5": T5,
}
"""Encoder-decoders that run on packs as they are."""

PADDED_PAIRS: dict[str, dict[str, Any]] = {
    "bart": BART,
    "mbart": BART | {"scale_embedding": True},
    "pegasus": BART,
}
"""Encoder-decoders that count positions through a pack, and so run padded."""
