"""Trying out a freshly built encoder-decoder: which ways of running it give what it should?

As `trial.py` does with decoders: a handful of tokens is run each way and beside the plainest one,
the whole model's own forward on one pair at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import torch
from torch import Tensor

from isthmus.core.contracts import Segments
from isthmus.core.model.layout import Layout
from isthmus.core.model.pretrained import label, quiet
from isthmus.core.model.ragged import register
from isthmus.core.model.trial import EAGER, alike
from isthmus.errors import PartError

if TYPE_CHECKING:
    from isthmus.core.model.encoder_decoder import EncoderDecoder

SOURCES, TARGETS = Segments((7, 4)), Segments((3, 5))
"""Of unlike lengths, the longer source with the shorter target."""


@torch.no_grad()
def try_out(llm: EncoderDecoder) -> None:
    """Settle `ragged`; raises PartError for a model that runs right in no way."""
    training = llm.training
    llm.eval()
    sources, targets = (_split(embed, s) for embed, s in _tried(llm))
    with quiet():
        wanted = _alone(llm, sources, targets)
        run = partial(_logits, llm, sources, targets)
        llm.ragged = not llm.looks_near and alike(
            partial(_by, llm, register(), partial(run, True)), wanted
        )
        if not llm.ragged and not any(
            alike(partial(_by, llm, attention, partial(run, False)), wanted)
            for attention in ("sdpa", EAGER)
        ):
            _refuse(llm, "gives other results in a batch, or by its parts, than alone")
        last = torch.tensor(TARGETS.offsets[1:]) - 1
        if not alike(lambda: _through_cache(llm, sources, targets), wanted[last]):
            _refuse(llm, "gives other results through its cache than at once")
    llm.train(training)


def _tried(llm: EncoderDecoder) -> list[tuple[Tensor, Segments]]:
    rows = len(llm.tokenizer) if llm.tokenizer is not None else llm.model.config.vocab_size
    found = []
    for embed, segments in ((llm.embed, SOURCES), (llm.embed_answer, TARGETS)):
        ids = (torch.arange(segments.offsets[-1]) * 7 + 3) % rows
        found.append((embed(ids), segments))
    return found


def _split(embeds: Tensor, segments: Segments) -> list[Tensor]:
    return list(torch.split(embeds, list(segments.lengths)))


def _alone(llm: EncoderDecoder, sources: list[Tensor], targets: list[Tensor]) -> Tensor:
    """Logits of pairs run one by one, by the model's own forward."""
    logits = []
    try:
        for source, target in zip(sources, targets, strict=True):
            output = llm.model(
                inputs_embeds=source[None], decoder_inputs_embeds=target[None], use_cache=False
            )
            logits.append(output.logits[0])
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        _refuse(llm, f"does not run: {error}")
    return torch.cat(logits)


def _by(llm: EncoderDecoder, attention: str, run: Callable[[], Tensor]) -> Tensor:
    llm.model.set_attn_implementation(attention)
    return run()


def _logits(
    llm: EncoderDecoder, sources: list[Tensor], targets: list[Tensor], packed: bool
) -> Tensor:
    device = sources[0].device
    seen, own = Layout(SOURCES, device), Layout(TARGETS, device)
    encode = llm.encode_packed if packed else llm.encode_padded
    run = llm.packed if packed else llm.padded
    memory = encode(torch.cat(sources), seen)
    return llm.head(run(memory, seen, torch.cat(targets), own))


def _through_cache(llm: EncoderDecoder, sources: list[Tensor], targets: list[Tensor]) -> Tensor:
    """Logits of each target's last token, read one by one beside a memory padded on the left."""
    memory, mask = left_padded([llm.encode(s, Segments((len(s),))) for s in sources])
    rows = []
    for row, target in enumerate(targets):
        cache = None
        for token in target:
            batch = token.expand(len(targets), 1, -1)
            hidden, cache = llm.decode(batch, memory, mask, cache)
        rows.append(llm.head(hidden[row]))
    return torch.cat(rows)


def left_padded(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """(tokens dim) each -> (rows tokens dim), zero before the first, and which are real."""
    longest = max(map(len, rows))
    mask = torch.stack(
        [torch.arange(longest, device=row.device) >= longest - len(row) for row in rows]
    )
    padded = rows[0].new_zeros(*mask.shape, rows[0].shape[1])
    padded[mask] = torch.cat(rows)
    return padded, mask


def _refuse(llm: EncoderDecoder, why: str) -> NoReturn:
    raise PartError(f"{label(llm.config)}: {llm.family} {why}")
