"""How many operations an encoder-decoder takes, found by sending one token and two through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from isthmus.core.contracts import Segments, Seq2SeqLLM
from isthmus.core.model.vlm import learns
from isthmus.core.train.pair_flops import PairFlops, StackWork
from isthmus.core.train.sight_operations import Seen
from isthmus.core.train.watching import Watch, unknown_weights, watching, watching_each


@dataclass
class _Run:
    """A run of one stack: what its matrices took, which layers give on a gradient, and what
    attention took, forward alone."""

    whole: Watch
    layers: list[Watch]
    attention: float
    gave: Tensor


def pair_flops(llm: Seq2SeqLLM, seen: Seen, device: torch.device) -> PairFlops | None:
    """None where weights are used in a way that is not understood."""
    one = torch.zeros(1, dtype=torch.long, device=device)
    embeds, answers = llm.embed(one), llm.embed_answer(one)
    carried = embeds.requires_grad or seen.reaches

    def read(tokens: int) -> _Run:
        given = embeds.detach().repeat(tokens, 1).requires_grad_(carried)
        return _run(llm, llm.encoder_layers, lambda: llm.encode(given, Segments((tokens,))))

    one_read = read(1)
    memory, carries = one_read.gave, one_read.gave.requires_grad

    def say(memories: int, tokens: int) -> _Run:
        seen_by = memory.detach().repeat(memories, 1).requires_grad_(carries)
        given = answers.detach().repeat(tokens, 1).requires_grad_(answers.requires_grad)
        sizes = Segments((memories,)), Segments((tokens,))
        return _run(llm, llm.decoder_layers, lambda: llm(seen_by, sizes[0], given, sizes[1]))

    alone, longer, wider = say(1, 1), say(1, 2), say(2, 1)
    with watching(llm) as head:
        llm.head(alone.gave[:1])
    known = one_read.whole.weights | alone.whole.weights | head.weights
    if unknown_weights(llm, known):
        return None
    across = wider.attention - alone.attention
    own = alone.attention - across
    asks = _asking(llm.encoder_layers, one_read.layers, carried)
    says = _asking(llm.decoder_layers, alone.layers, answers.requires_grad)
    looks = [carries or learns(layer) for layer in llm.decoder_layers]
    both = [1 + a + b for a, b in zip(says, looks, strict=True)]
    return PairFlops(
        seen.sight,
        encoder=StackWork(
            token=one_read.whole.all, own=one_read.attention * _mean([1 + 2 * a for a in asks])
        ),
        decoder=StackWork(
            token=longer.whole.all - alone.whole.all,
            memory=wider.whole.all - alone.whole.all,
            own=own * _mean([1 + 2 * a for a in says]),
            across=across * _mean(both),
        ),
        forward=(
            StackWork(one_read.whole.forward, own=one_read.attention),
            StackWork(
                longer.whole.forward - alone.whole.forward,
                wider.whole.forward - alone.whole.forward,
                own,
                across,
            ),
        ),
        layers=(len(llm.encoder_layers), len(llm.decoder_layers)),
        row=head.all,
    )


def _run(llm: Seq2SeqLLM, stack: nn.ModuleList, go: Callable[[], Tensor]) -> _Run:
    with (
        watching(llm) as whole,
        watching_each(stack) as layers,
        FlopCounterMode(display=False) as counter,
    ):
        gave = go()
    return _Run(whole, layers, counter.get_total_flops() - whole.forward, gave)


def _asking(stack: nn.ModuleList, layers: Sequence[Watch], carried: bool) -> list[bool]:
    """Whether a gradient goes through what each layer's tokens ask for: what came in carries one,
    or the layer learns."""
    comes = [carried, *(layer.carries for layer in layers[:-1])]
    return [came or learns(layer) for came, layer in zip(comes, stack, strict=True)]


def _mean(passes: Sequence[int]) -> float:
    return sum(passes) / len(passes)
