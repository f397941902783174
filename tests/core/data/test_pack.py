"""Samples in tensors, and packs of them."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch

from isthmus.core.contracts import ImageSlot, Pack, Sample, Template, Turn
from isthmus.core.data.encode import tokenize
from isthmus.core.data.pack import collate, count_tokens, encode_prompt, encode_sample
from isthmus.errors import DataError, ImageError, PartError, Unsupervised
from isthmus.testing import tiny_tokenizer
from tests.core.data.toys import Rows, photo, sample, tools


def learnt(encoded) -> list[int]:
    return encoded.targets[encoded.targets != Pack.IGNORE].tolist()


def test_targets_are_the_tokens_that_follow_and_only_those_of_answers():
    kit = tools()
    encoded = encode_sample(sample("1", "A dog."), kit)
    tokens = tokenize(kit.template.spans(sample("1", "A dog.").turns, kit.tokenizer), kit.tokenizer)
    assert encoded.ids.tolist() == list(tokens.ids)
    expected = [
        tokens.ids[i + 1] if tokens.supervised[i + 1] else Pack.IGNORE
        for i in range(len(tokens.ids) - 1)
    ]
    assert encoded.targets.tolist() == [*expected, Pack.IGNORE]
    assert kit.tokenizer.decode(learnt(encoded)) == " A dog.</s>"


def test_image_takes_the_places_that_the_connector_promised():
    # 20 pixels wide: a grid of 2 x 2; 35 wide: 3 x 2.
    encoded = encode_sample(sample("1", images=[photo(20), photo(35)]), tools())
    first = len(tools().tokenizer("USER: ").input_ids)
    assert encoded.visual.tolist() == list(range(first, first + 10))
    assert len(encoded.images) == 2
    assert encoded.images.pixels.shape == (2, 3, 4, 4)
    wider = encode_sample(sample("1", images=[photo(50), photo(35)]), tools())
    assert wider.num_tokens == encoded.num_tokens + 6
    assert learnt(wider) == learnt(encoded)


def test_images_go_in_the_order_of_their_slots():
    turns = (Turn("user", (ImageSlot(1), "and", ImageSlot(0))), Turn("assistant", ("ok",)))
    swapped = Sample("1", turns, (photo(20, "red"), photo(20, "blue")))
    pixels = encode_sample(swapped, tools()).images.pixels
    assert pixels[0, :, 0, 0].tolist() == [0, 0, 255]
    assert pixels[1, :, 0, 0].tolist() == [255, 0, 0]


def test_counted_tokens_are_those_of_the_encoded_sample():
    for kit in (tools(), tools(max_length=15)):
        for one in (sample("1"), sample("2", "x " * 30), sample("3", images=[photo(20)])):
            assert count_tokens(one, kit) == encode_sample(one, kit).num_tokens


def test_truncation_cuts_text_behind_and_never_an_image():
    long = sample("1", "word " * 50)
    cut = encode_sample(long, tools(max_length=20))
    assert cut.num_tokens == 20
    assert cut.ids.tolist() == encode_sample(long, tools()).ids[:20].tolist()
    with_image = sample("1", images=[photo(90)])
    with pytest.raises(Unsupervised, match=r"first 20 tokens \(`max_length`\)"):
        encode_sample(with_image, tools(max_length=20))


def test_blind_sees_a_grey_picture_of_the_same_size():
    seen = encode_sample(sample("1", images=[photo(35)]), tools())
    blind = encode_sample(sample("1", images=[photo(35)]), tools(blind=True))
    assert blind.ids.tolist() == seen.ids.tolist()
    assert blind.visual.tolist() == seen.visual.tolist()
    assert blind.images.grids == seen.images.grids
    assert blind.images.pixels.unique().tolist() == [128]


def test_prompt_is_a_prefix_of_the_sample_and_learns_nothing():
    kit = tools()
    whole = encode_sample(sample("1", images=[photo(20)]), kit)
    asked = sample("1", images=[photo(20)])
    asked = Sample("1", asked.turns[:1], asked.images)
    prompt = encode_prompt(asked, kit)
    assert prompt.ids.tolist() == whole.ids[: prompt.num_tokens].tolist()
    assert prompt.visual.tolist() == whole.visual.tolist()
    assert learnt(prompt) == []
    # Supervision begins with the token that the prompt is to be answered with.
    assert whole.targets[prompt.num_tokens - 1] != Pack.IGNORE
    assert (whole.targets[: prompt.num_tokens - 1] == Pack.IGNORE).all()


def test_pack_lays_samples_end_to_end():
    examples = [
        encode_sample(one, tools())
        for one in (
            sample("a", images=[photo(20)]),
            sample("b"),
            sample("c", "Two red cars.", images=[photo(35), photo(10)]),
        )
    ]
    pack = collate(examples)
    assert pack.samples == ("a", "b", "c")
    assert pack.segments.lengths == tuple(e.num_tokens for e in examples)
    assert pack.num_images == 3
    assert pack.images.crops == (1, 1, 1)
    assert pack.weight == sum(len(learnt(e)) for e in examples)
    for index, example in enumerate(examples):
        start, end = pack.segments.offsets[index : index + 2]
        assert pack.ids[start:end].tolist() == example.ids.tolist()
        assert pack.targets[start:end].tolist() == example.targets.tolist()
        inside = pack.visual[(pack.visual >= start) & (pack.visual < end)]
        assert (inside - start).tolist() == example.visual.tolist()
    assert collate(examples[1:2]).images is None
    assert pack.targets[[end - 1 for end in pack.segments.offsets[1:]]].tolist() == [-100] * 3


def test_sample_without_an_answer_supervises_nothing_and_says_so():
    asked = Sample("9", (Turn("user", ("hi",)),), (), "train.json, record 3")
    with pytest.raises(Unsupervised, match=r"^train\.json, record 3: sample '9' has no answer"):
        encode_sample(asked, tools())


def test_bad_picture_names_record():
    broken = sample("1", images=[b"no picture"])
    for call in (encode_sample, count_tokens, encode_prompt):
        with pytest.raises(ImageError, match=r"^toy\.json, record 1: "):
            call(broken, tools())


def test_missing_parts_are_named():
    for absent in ({"transform": None}, {"num_tokens": None}):
        with pytest.raises(PartError, match="an encoder and a connector"):
            encode_sample(sample("1", images=[photo()]), tools(**absent))
    with pytest.raises(PartError, match="`template`"):
        encode_sample(sample("1"), tools(template=None))


class Refusing(Template, name="toy_refusing"):
    def spans(self, turns, tokenizer):
        raise DataError("no such role")

    prompt = spans

    def stop(self, tokenizer):
        return ""


def test_template_that_refuses_a_conversation_names_the_record():
    kit = tools(template=Refusing.Config().build())
    with pytest.raises(DataError, match=r"^toy\.json, record 1: no such role"):
        encode_sample(sample("1"), kit)


def test_tools_are_small_to_send_and_work_after():
    kit = tools()
    encoded = encode_sample(sample("1", images=[photo()]), kit)
    sent = pickle.dumps(kit)
    assert len(sent) < 200_000
    again = encode_sample(sample("1", images=[photo()]), pickle.loads(sent))
    assert torch.equal(encoded.ids, again.ids)
    assert isinstance(kit.transform, Rows)


def test_pack_says_where_every_image_stands():
    pieces = ("a", ImageSlot(0), "b c", ImageSlot(1))
    turns = (Turn("user", pieces), Turn("assistant", ("ok",)))
    two = Sample("2", turns, (photo(20), photo(35)))
    encoded = [encode_sample(one, tools()) for one in (sample("1"), two, sample("3"))]
    pack = collate(encoded)
    # Visual tokens begin where their image stands: 4 of the first, then those of the second.
    first, second = encoded[1].visual[0].item(), encoded[1].visual[4].item()
    assert pack.stands.tolist() == [[1, first], [1, second]]
    assert collate(encoded[::2]).stands.shape == (0, 2)


def test_image_that_takes_no_place_keeps_where_it_stands():
    kit = replace(tools(), num_tokens=lambda grids: 0)
    turns = (Turn("user", ("a b", ImageSlot(0))), Turn("assistant", ("ok",)))
    encoded = encode_sample(Sample("1", turns, (photo(20),)), kit)
    words = kit.tokenizer("USER: a b").input_ids
    assert encoded.ids.tolist()[: len(words)] == words
    assert (encoded.stands, encoded.visual.tolist()) == ((len(words),), [])


def test_connector_reads_the_words_that_each_image_came_with():
    reader = tiny_tokenizer()
    kit = replace(tools(), connector_tokenizer=reader)
    turns = (
        Turn("user", (ImageSlot(1), "\nwhat is </s> this")),
        Turn("assistant", ("ok",)),
        Turn("user", ("and ", ImageSlot(0))),
        Turn("assistant", ("ok",)),
    )
    both = Sample("1", turns, (photo(20), photo(35)))
    first, second = encode_sample(both, kit).texts
    assert reader.decode(first, skip_special_tokens=True).strip() == "what is </s> this"
    assert reader.decode(second, skip_special_tokens=True).strip() == "and"
    pack = collate([encode_sample(both, kit), encode_sample(sample("2"), kit)])
    assert pack.text.mask.sum(dim=1).tolist() == [len(first), len(second)]
    assert pack.text.ids[1, : len(second)].tolist() == list(second)
    assert encode_sample(both, tools()).texts == ()
