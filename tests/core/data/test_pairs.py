"""Samples as sources and targets."""

from __future__ import annotations

import pickle

import pytest
import torch

from isthmus.core.contracts import ImageSlot, Pack, Sample, Turn
from isthmus.core.data.encode import tokenize
from isthmus.core.data.pack import encode_prompt, encode_sample
from isthmus.core.data.pairs import collate_pairs, count_pair_tokens, encode_pairs
from isthmus.errors import ImageError, PartError, Unsupervised
from isthmus.plugins.templates.plain import Plain
from tests.core.data.toys import photo, sample, tools

PAIRS = {"starts": (0,), "ends": (9,)}


def asked(*answers: str, pictures: int = 0) -> Sample:
    """A conversation of so many answers, a picture in each of the first questions."""
    turns: list[Turn] = []
    for number, answer in enumerate(answers):
        slots = (ImageSlot(number),) if number < pictures else ()
        turns += [Turn("user", (*slots, f"Question {number}?")), Turn("assistant", (answer,))]
    return Sample("1", tuple(turns), tuple(photo(20) for _ in range(pictures)), "toy, record 1")


def test_every_answer_is_a_target_and_all_before_it_its_source():
    kit = tools(**PAIRS)
    pairs = encode_pairs(asked("A dog.", "Two."), kit)
    whole = kit.tokenizer.decode
    sources = [whole(source[:-1]) for source in pairs.sources]
    assert sources == [
        "USER: Question 0? ASSISTANT:",
        "USER: Question 0? ASSISTANT: A dog.</s>USER: Question 1? ASSISTANT:",
    ]
    assert [source[-1].item() for source in pairs.sources] == [9, 9]
    assert [whole(target) for target in pairs.targets] == [" A dog.</s>", " Two.</s>"]
    for ids, targets in zip(pairs.ids, pairs.targets, strict=True):
        assert ids.tolist() == [0, *targets[:-1].tolist()]


@pytest.mark.parametrize("template", ["vicuna", "plain"])
def test_as_many_tokens_are_learnt_as_a_decoder_learns_and_the_same(template: str):
    more = {"template": Plain.Config().build()} if template == "plain" else {}
    conversation = asked("A dog.", "Two dogs", "x", "", pictures=2)
    pack = encode_sample(conversation, tools(**more))
    pairs = collate_pairs([encode_pairs(conversation, tools(**PAIRS, **more))])
    assert pairs.targets.tolist() == pack.targets[pack.targets != Pack.IGNORE].tolist()
    assert len(pairs.sources.lengths) == 4


def test_a_source_is_what_generation_asks_with():
    kit = tools(**PAIRS)
    conversation = asked("A dog.", "Two.", pictures=2)
    pairs = encode_pairs(conversation, kit)
    for number, source in enumerate(pairs.sources):
        turns = conversation.turns[: 2 * number + 1]
        so_far = Sample("1", turns, conversation.images[: number + 1], "toy")
        prompt = encode_prompt(so_far, kit)
        assert source.tolist() == prompt.ids.tolist()
        assert pairs.visual[number].tolist() == prompt.visual.tolist()


def test_starts_that_are_not_learnt_come_before_what_is():
    pairs = encode_pairs(asked("A dog."), tools(starts=(3, 1)))
    (ids,), (targets,) = pairs.ids, pairs.targets
    assert ids[:2].tolist() == [3, 1]
    assert targets[0] == Pack.IGNORE
    assert ids[2:].tolist() == targets[1:-1].tolist()


def test_an_image_of_several_sources_is_looked_at_once():
    kit = tools(**PAIRS)
    first, second = asked("A dog.", "Two.", "x", pictures=2), sample("2", images=[photo(35)])
    batch = collate_pairs([encode_pairs(each, kit) for each in (first, sample("3"), second)])
    assert batch.num_images == 3
    assert batch.samples == ("1", "3", "2")
    assert batch.shows.tolist() == [
        *(0, 1, 2, 3),  # the first answer knows one picture of four tokens
        *range(8),
        *range(8),
        *range(8, 14),
    ]
    marked = torch.zeros(len(batch.source_ids), dtype=torch.bool)
    marked[batch.visual] = True
    counts = [int(run.sum()) for run in marked.split(batch.sources.lengths)]
    assert counts == [4, 8, 8, 0, 6]
    assert batch.weight == sum(batch.targets != Pack.IGNORE)
    assert batch.num_tokens == len(batch.source_ids) + len(batch.ids)


@pytest.mark.parametrize("length", [None, 200, 70, 40, 25, 16])
def test_counted_tokens_are_those_of_the_encoded_sample(length: int | None):
    kit = tools(**PAIRS, max_length=length)
    for one in (asked("A dog.", "Two.", "x " * 20), asked("A", "B", pictures=2)):
        try:
            pairs = encode_pairs(one, kit)
        except Unsupervised:
            assert count_pair_tokens(one, kit) == 0
            continue
        assert count_pair_tokens(one, kit) == pairs.num_tokens
        if length is not None:
            whole = zip(pairs.sources, pairs.ids, strict=True)
            assert max(len(source) + len(ids) for source, ids in whole) <= length


def test_an_image_after_the_last_answer_that_is_kept_is_left_out():
    kit = tools(**PAIRS)
    conversation = asked("A dog.", "Two.", pictures=2)
    first = encode_pairs(conversation, kit)
    room = len(first.sources[0]) + len(first.ids[0]) + 14  # the second image, but no answer to it
    cut = encode_pairs(conversation, tools(**PAIRS, max_length=room))
    assert len(cut.sources) == 1
    assert len(cut.images) == 1


def test_a_sample_without_an_answer_has_nothing_to_learn():
    with pytest.raises(Unsupervised, match="record 1: sample '1' has no answer"):
        encode_pairs(
            Sample("1", (Turn("user", ("What?",)),), (), "toy.json, record 1"), tools(**PAIRS)
        )
    with pytest.raises(Unsupervised, match="within the first 4 tokens"):
        encode_pairs(sample("1"), tools(**PAIRS, max_length=4))
    with pytest.raises(ImageError):
        encode_pairs(sample("1", images=[b"no picture"]), tools(**PAIRS))


def test_pairs_are_for_encoder_decoders():
    with pytest.raises(PartError, match="the llm is none"):
        encode_pairs(sample("1"), tools())


def test_examples_and_batches_go_to_workers():
    pairs = encode_pairs(asked("A dog.", "Two.", pictures=1), tools(**PAIRS))
    batch = collate_pairs([pickle.loads(pickle.dumps(pairs))])
    assert pickle.loads(pickle.dumps(batch)).num_tokens == batch.num_tokens
    assert batch.to(torch.device("cpu")).ids.tolist() == batch.ids.tolist()


def test_answers_begin_where_prompts_end():
    kit = tools()
    conversation = asked("A dog.", "Two.")
    tokens = tokenize(kit.template.spans(conversation.turns, kit.tokenizer), kit.tokenizer)
    prompts = [
        len(
            tokenize(
                kit.template.prompt(conversation.turns[:count], kit.tokenizer), kit.tokenizer
            ).ids
        )
        for count in (1, 3)
    ]
    assert list(tokens.begins) == prompts
