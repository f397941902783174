"""Templates against the published strings of each."""

from __future__ import annotations

import copy

import pytest

from isthmus.core.contracts import ControlSpan, ImageSlot, ImageSpan, TextSpan, Turn
from isthmus.errors import PartError
from isthmus.plugins.templates.chatml import ChatML
from isthmus.plugins.templates.llama2 import Llama2
from isthmus.plugins.templates.plain import Plain
from isthmus.plugins.templates.vicuna_v1 import VicunaV1
from tests.published import FORMATS
from tests.tokenizers import real_tokenizer, small_tokenizer

ROUNDS = [("<image>\nWhat is this?", "A cat."), ("Sure?", "Yes.")]
TURNS = (
    Turn("user", (ImageSlot(0), "\nWhat is this?")),
    Turn("assistant", ("A cat.",)),
    Turn("user", ("Sure?",)),
    Turn("assistant", ("Yes.",)),
)


def read(spans) -> str:
    return "".join(
        "<image>" if isinstance(s, ImageSpan) else s.token if isinstance(s, ControlSpan) else s.text
        for s in spans
    )


@pytest.mark.parametrize("part", [Plain, VicunaV1, Llama2, ChatML])
def test_spans_read_as_the_published_string(part, data_folder):
    tokenizer = real_tokenizer(data_folder, "llama2")
    template = part.Config().build()
    pieces = FORMATS[part.name](ROUNDS, "<s>", "</s>")
    assert read(template.spans(TURNS, tokenizer)) == "".join(text for text, _ in pieces)
    ends = [i for i, (_, learnt) in enumerate(pieces) if learnt]
    for asked, end in zip((1, 3), ends, strict=True):
        before = "".join(text for text, _ in pieces[:end])
        assert read(template.prompt(TURNS[:asked], tokenizer)) == before.removesuffix(" ")


def test_vicuna_v1_is_the_string_of_llava():
    spans = VicunaV1.Config().build().spans(TURNS, small_tokenizer())
    assert read(spans) == (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. USER: <image>\n"
        "What is this? ASSISTANT: A cat.</s>USER: Sure? ASSISTANT: Yes.</s>"
    )


def test_system_turn_replaces_the_templates_own():
    turns = (Turn("system", ("Be brief.",)), *TURNS[:2])
    tokenizer = small_tokenizer()
    assert read(VicunaV1.Config().build().spans(turns, tokenizer)) == (
        "Be brief. USER: <image>\nWhat is this? ASSISTANT: A cat.</s>"
    )
    assert read(Llama2.Config().build().spans(turns, tokenizer)) == (
        "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n<image>\nWhat is this? [/INST] A cat. </s>"
    )
    assert read(ChatML.Config().build().spans(turns, tokenizer)) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<image>\nWhat is this?"
        "<|im_end|>\n<|im_start|>assistant\nA cat.<|im_end|>\n"
    )
    assert read(Plain.Config().build().spans(turns, tokenizer)) == "<image>A cat.\n"


def test_empty_system_leaves_nothing_behind():
    tokenizer = small_tokenizer()
    for part, start in ((VicunaV1, "USER: "), (Llama2, "[INST] <image>")):
        assert read(part.Config(system="").build().spans(TURNS, tokenizer)).startswith(start)


def test_only_answers_and_their_stops_are_supervised():
    tokenizer = small_tokenizer()
    learnt = {
        part.name: read(
            s
            for s in part.Config().build().spans(TURNS[:2], tokenizer)
            if getattr(s, "supervised", False)
        )
        for part in (Plain, VicunaV1, Llama2, ChatML)
    }
    assert learnt == {
        "plain": "A cat.\n",
        "vicuna_v1": " A cat.</s>",
        "llama2": " A cat. </s>",
        "chatml": "A cat.<|im_end|>",
    }


def test_chatml_uses_the_control_tokens_where_the_tokenizer_has_them():
    tokenizer = copy.deepcopy(small_tokenizer())
    template = ChatML.Config().build()
    assert not any(isinstance(s, ControlSpan) for s in template.spans(TURNS, tokenizer))
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
    spans = template.spans(TURNS, tokenizer)
    assert ControlSpan("<|im_end|>", supervised=True) in spans
    assert TextSpan("A cat.", supervised=True, typed=True) in spans


def test_tokenizer_without_an_end_is_refused():
    tokenizer = copy.deepcopy(small_tokenizer())
    tokenizer.eos_token = None
    with pytest.raises(PartError, match="no end-of-text token"):
        VicunaV1.Config().build().stop(tokenizer)
