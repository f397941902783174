"""Does an encoder-decoder keep its contract (`isthmus.core.contracts.llm`)?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isthmus.core.contracts import Segments, Seq2SeqLLM
from isthmus.testing.promises import close, promise

SOURCES, TARGETS = Segments((5, 1, 9)), Segments((2, 7, 4))
"""Pairs that are tried: a source may be shorter than its target, and of a single token."""


def draw_pairs(llm: Seq2SeqLLM) -> tuple[Tensor, Tensor]:
    """Ids of the pairs that are tried, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        counts = (SOURCES.offsets[-1], TARGETS.offsets[-1])
        sources, targets = (torch.randint(len(llm.tokenizer), (count,)) for count in counts)
    return sources, targets


def hidden_of(llm: Seq2SeqLLM, sources: Tensor, targets: Tensor) -> Tensor:
    """The decoder's hidden states of the pairs."""
    memory = llm.encode(llm.embed(sources), SOURCES)
    hidden: Tensor = llm(memory, SOURCES, llm.embed_answer(targets), TARGETS)
    return hidden


def check_seq2seq(llm: Seq2SeqLLM) -> None:
    """Try what is promised of an encoder-decoder alone. Raises ContractBroken."""
    sources, targets = draw_pairs(llm)
    _check_shapes(llm, sources, targets)
    _check_sight(llm, sources, targets)
    _check_pairs(llm, sources, targets)
    _check_decode(llm, sources, targets)


def _check_shapes(llm: Seq2SeqLLM, sources: Tensor, targets: Tensor) -> None:
    name = type(llm).__qualname__
    found = {
        "embed": (llm.embed(sources), len(sources)),
        "embed_answer": (llm.embed_answer(targets), len(targets)),
        "encode": (llm.encode(llm.embed(sources), SOURCES), len(sources)),
        "forward": (hidden_of(llm, sources, targets), len(targets)),
    }
    for what, (tensor, tokens) in found.items():
        promise(
            tuple(tensor.shape) == (tokens, llm.dim),
            f"{name}.{what}: (tokens dim) is {(tokens, llm.dim)} here, not {tuple(tensor.shape)}",
        )
    for what, layers in (("encoder", llm.encoder_layers), ("decoder", llm.decoder_layers)):
        promise(
            isinstance(layers, nn.ModuleList) and len(layers) > 0,
            f"{name}.{what}_layers: it must be the model's own ModuleList of blocks",
        )
    known = llm.head(torch.zeros(1, llm.dim)).shape[-1]
    promise(
        bool(llm.starts) and all(0 <= id < known for id in (*llm.starts, *llm.ends)),
        f"{name}: `starts` are ids that its decoder begins with, at least one, and `ends` ids; "
        f"here they are {llm.starts} and {llm.ends}, of {known}",
    )


def _check_pairs(llm: Seq2SeqLLM, sources: Tensor, targets: Tensor) -> None:
    """Hidden states and gradients of pairs in a batch are those of each pair alone."""
    name = type(llm).__qualname__
    read = llm.embed(sources).detach().requires_grad_()
    said = llm.embed_answer(targets).detach().requires_grad_()
    together = llm(llm.encode(read, SOURCES), SOURCES, said, TARGETS)
    direction = torch.linspace(-1, 1, together.numel()).reshape(together.shape)
    found = torch.autograd.grad((together * direction).sum(), (read, said))
    runs = zip(
        torch.split(read, list(SOURCES.lengths)),
        torch.split(said, list(TARGETS.lengths)),
        strict=True,
    )
    alone = torch.cat([_alone(llm, source, target) for source, target in runs])
    wanted = torch.autograd.grad((alone * direction).sum(), (read, said))
    close(together, alone, f"{name}: hidden states of pairs together, and of each alone")
    for what, got, want in zip(("source", "target"), found, wanted, strict=True):
        close(got, want, f"{name}: gradients of {what}s together, and of each alone")


def _alone(llm: Seq2SeqLLM, source: Tensor, target: Tensor) -> Tensor:
    own = Segments((len(source),))
    hidden: Tensor = llm(llm.encode(source, own), own, target, Segments((len(target),)))
    return hidden


@torch.no_grad()
def _check_sight(llm: Seq2SeqLLM, sources: Tensor, targets: Tensor) -> None:
    """A source is seen whole, and no word of an answer sees one that comes after it."""
    name = type(llm).__qualname__
    before = hidden_of(llm, sources, targets)
    for what, ids in (("source", sources), ("target", targets)):
        changed = ids.clone()
        last = (SOURCES if what == "source" else TARGETS).offsets[1] - 1
        changed[last] = (changed[last] + 1) % len(llm.tokenizer)
        pair = (changed, targets) if what == "source" else (sources, changed)
        moved = (hidden_of(llm, *pair) - before).abs().amax(dim=1) > 0
        first = TARGETS.lengths[0]
        if what == "source":
            promise(bool(moved[:first].all()), f"{name}: an answer does not see its source's end")
            close(
                hidden_of(llm, *pair)[first:], before[first:], f"{name}: answers of other sources"
            )
        else:
            kept = torch.arange(len(targets)) != last
            close(
                hidden_of(llm, *pair)[kept], before[kept], f"{name}: words that a later one changed"
            )


@torch.no_grad()
def _check_decode(llm: Seq2SeqLLM, sources: Tensor, targets: Tensor) -> None:
    """Answers read token by token through the cache, beside a padded memory, give what a
    forward pass gives."""
    count = min(TARGETS.lengths)
    runs = torch.split(llm.encode(llm.embed(sources), SOURCES), list(SOURCES.lengths))
    memory = nn.utils.rnn.pad_sequence(list(runs), batch_first=True)
    mask = torch.arange(memory.shape[1]) < torch.tensor(SOURCES.lengths)[:, None]
    answers = torch.stack([run[:count] for run in torch.split(targets, list(TARGETS.lengths))])
    cache, found = None, []
    for token in answers.unbind(dim=1):
        hidden, cache = llm.decode(llm.embed_answer(token)[:, None], memory, mask, cache)
        found.append(hidden[:, 0])
    rows = Segments((count,) * len(runs))
    wanted = llm(torch.cat(runs), SOURCES, llm.embed_answer(answers.flatten()), rows)
    close(
        torch.stack(found, dim=1).flatten(0, 1),
        wanted,
        f"{type(llm).__qualname__}.decode: hidden states, and those of forward",
    )
