"""Trying out a freshly built decoder: which ways of running it give what it should?

Families differ in what they hand down to their layers, and what they drop they drop silently.
So a handful of tokens is run each way and beside the plainest one; what gives other results is
not used.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor

from isthmus.core.contracts import Segments
from isthmus.core.model.last_layer import LastLayer, by_row
from isthmus.core.model.layout import Layout
from isthmus.core.model.pretrained import label, quiet
from isthmus.core.model.ragged import register
from isthmus.errors import PartError

if TYPE_CHECKING:
    from isthmus.core.model.decoder import Decoder

EAGER = "eager"
"""The attention that every family computes right: models are built with it, and what is faster
must first agree with it."""
SEGMENTS = Segments((6, 4))
MIDDLE = 3
"""A token of the first of them, with others on both sides."""
TOLERANCE = 1e-4
"""Largest relative difference in fp32 that rounding explains; a leak between samples makes one
a thousand times larger."""


@torch.no_grad()
def try_out(decoder: Decoder) -> None:
    """Settle `ragged` and `decodes`; raises PartError for a model that runs right in no way."""
    training = decoder.training
    decoder.eval()
    texts = _texts(decoder)
    pack = torch.cat(texts)
    layout = Layout(SEGMENTS, pack.device)
    with quiet():
        wanted, logits = _alone(decoder, texts)
        if not alike(lambda: decoder.head(wanted), logits):
            _refuse(decoder, "has a head that does more than is known")
        packed, padded = (
            partial(decoder.packed, pack, layout),
            partial(decoder.padded, pack, layout),
        )
        decoder.ragged = alike(partial(_by, decoder, register(), packed), wanted)
        if not decoder.ragged and not any(
            alike(partial(_by, decoder, attention, padded), wanted) for attention in ("sdpa", EAGER)
        ):
            _refuse(decoder, "gives other results in a batch than alone")
        last = torch.tensor(SEGMENTS.offsets[1:]) - 1
        decoder.decodes = alike(lambda: _left_padded(decoder, texts), wanted[last])
        if decoder.hands_down:
            layer = decoder.decoder_layers[-1]
            LastLayer(layer, by_row(layer, packed, MIDDLE, len(pack)))
    decoder.train(training)


def _texts(decoder: Decoder) -> list[Tensor]:
    """(tokens dim) of a few samples."""
    ids = (torch.arange(SEGMENTS.offsets[-1]) * 7 + 3) % decoder.model.config.vocab_size
    return list(torch.split(decoder.embed(ids), list(SEGMENTS.lengths)))


def alike(run: Callable[[], Tensor], wanted: Tensor) -> bool:
    """Whether `run` gives what is wanted. Families that cannot do it raise whatever they like."""
    try:
        found = run()
    except Exception:
        return False
    if found.shape != wanted.shape:
        return False
    difference = torch.linalg.vector_norm((found - wanted).float())
    return bool(difference <= TOLERANCE * torch.linalg.vector_norm(wanted.float()))


def _alone(decoder: Decoder, texts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Hidden states and logits of texts run one by one, by the model's own forward."""
    hidden, logits = [], []
    try:
        for text in texts:
            positions = torch.arange(len(text), device=text.device)[None]
            hidden.append(decoder.run(text[None], positions, use_cache=False).last_hidden_state)
            logits.append(decoder.model(inputs_embeds=text[None], use_cache=False).logits)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        _refuse(decoder, f"does not run: {error}")
    return torch.cat(hidden, dim=1)[0], torch.cat(logits, dim=1)[0]


def _by(decoder: Decoder, attention: str, run: Callable[[], Tensor]) -> Tensor:
    decoder.model.set_attn_implementation(attention)
    return run()


def _left_padded(decoder: Decoder, texts: list[Tensor]) -> Tensor:
    """The last hidden state of each, its last token being read through the cache."""
    longest = max(len(text) for text in texts)
    mask = torch.stack([torch.arange(longest) >= longest - len(text) for text in texts])
    batch = torch.zeros(len(texts), longest, decoder.dim, dtype=texts[0].dtype)
    batch[mask] = torch.cat(texts)
    _, cache = decoder.decode(batch[:, :-1], mask[:, :-1])
    return decoder.decode(batch[:, -1:], mask, cache)[0][:, 0]


@torch.no_grad()
def try_prefixes(decoder: Decoder) -> None:
    """Raises PartError for a decoder whose prefixes do not look both ways, in a pack and through
    the cache, as they do by the family's own attention under a mask written out."""
    training = decoder.training
    decoder.eval()
    texts = _texts(decoder)
    lengths = tuple(map(len, texts))
    segments = Segments(lengths, prefixes=tuple(length - 3 for length in lengths))
    layout = Layout(segments, texts[0].device)

    def under_mask(rest: int) -> Tensor:
        ways = [partial(_under_mask, decoder, text, len(text) - rest) for text in texts]
        return torch.cat([_by(decoder, EAGER, way) for way in ways])

    right = decoder.hands_down
    if right:
        with quiet():
            last = torch.tensor(SEGMENTS.offsets[1:]) - 1
            try:
                part, whole = under_mask(3), under_mask(1)[last]
            except Exception:
                part = whole = torch.empty(0)
            decoder.model.set_attn_implementation(register())
            right = alike(lambda: decoder.packed(torch.cat(texts), layout), part)
            right = right and alike(lambda: _left_padded(decoder, texts), whole)
    if not right:
        _refuse(
            decoder,
            "cannot look both ways over a prefix; leave `attention: prefix` out, or take a family "
            "that can, like llama, gemma, qwen2, opt or gpt2",
        )
    decoder.train(training)


def _under_mask(decoder: Decoder, text: Tensor, prefix: int) -> Tensor:
    """Hidden states of a text whose first `prefix` tokens look both ways."""
    shape = decoder.model.config
    kinds = getattr(shape, "layer_types", None) or ()
    window = getattr(shape, "sliding_window", None)
    mask: Any = _written_out(text, prefix, window)
    if kinds:
        masks = {"sliding_attention": mask}
        mask = {k: masks.get(k, _written_out(text, prefix, None)) for k in kinds}
        if len(mask) == 1:
            (mask,) = mask.values()
    positions = torch.arange(len(text), device=text.device)[None]
    output = decoder.run(text[None], positions, attention_mask=mask, use_cache=False)
    hidden: Tensor = output.last_hidden_state[0]
    return hidden


def _written_out(text: Tensor, prefix: int, window: int | None) -> Tensor:
    """(1 1 tokens tokens) to add to scores: no token sees beyond it, or `window` and more back,
    but that those of the prefix see all of it."""
    places = torch.arange(len(text), device=text.device)
    back = places[:, None] - places
    sees = (back >= 0) & (back < (window or len(text)))
    sees[:prefix, :prefix] = True
    least = torch.finfo(text.dtype).min
    return torch.zeros_like(sees, dtype=text.dtype).masked_fill(~sees, least)[None, None]


def _refuse(decoder: Decoder, why: str) -> NoReturn:
    raise PartError(f"{label(decoder.config)}: {decoder.family} {why}")
