"""The tokenizer's own chat template, against transformers' rendering and assistant masks."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core.contracts import ControlSpan, ImageSlot, ImageSpan, NoStart, TextSpan, Turn
from isthmus.core.data.encode import Tokens, tokenize
from isthmus.errors import DataError, PartError
from isthmus.plugins.templates.tokenizer import TokenizerTemplate
from tests.tokenizers import real_tokenizer, small_tokenizer

# In the manner of well-known models' templates; `generation` marks what transformers' own
# assistant mask covers.
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{% else %}"
    "{{ m.content + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA = (
    "{% for m in messages %}{% if m.role == 'user' %}"
    "{{ bos_token + '[INST] ' + m.content | trim + ' [/INST]' }}{% else %}"
    "{{ ' ' }}{% generation %}{{ m.content | trim + ' ' + eos_token }}{% endgeneration %}"
    "{% endif %}{% endfor %}"
)
ROLES = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ '<|im_start|>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content.strip('\n') + '<|im_end|>' }}"
    "{% endgeneration %}{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
)
WORDY = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n###\n' }}{% endfor %}"
THOUGHTS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m.content + '<|im_end|>\n' }}{% endfor %}"
)

ANSWERS = ["A cat.", " lead", "trail ", "\nline\n", "", " ", "42", "\u732b\U0001f600", "a\n\n"]


def with_template(text: str, tokenizer=None):
    own = copy.deepcopy(tokenizer or small_tokenizer())
    if "<|im_start|>" in text:
        own.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
    own.chat_template = text
    return own


def template(**arguments):
    return TokenizerTemplate.Config(arguments=arguments).build()


def said(answer: str, rounds: int = 2) -> tuple[Turn, ...]:
    turns: list[Turn] = []
    for index in range(rounds):
        turns += [Turn("user", (f" question {index}? ",)), Turn("assistant", (answer,))]
    return tuple(turns)


def messages(turns):
    return [{"role": turn.role, "content": turn.text} for turn in turns]


@pytest.mark.parametrize("text", [CHATML, LLAMA, ROLES], ids=["chatml", "llama", "roles"])
def test_ids_and_labels_are_those_of_transformers(text):
    tokenizer = with_template(text)
    for answer in ANSWERS:
        turns = said(answer)
        tokens = tokenize(template().spans(turns, tokenizer), tokenizer)
        oracle = tokenizer.apply_chat_template(
            messages(turns), return_dict=True, return_assistant_tokens_mask=True
        )
        assert list(tokens.ids) == oracle["input_ids"], answer
        ours = [i for i, learnt in enumerate(tokens.supervised) if learnt]
        theirs = [i for i, mask in enumerate(oracle["assistant_masks"]) if mask]
        # At most the one space before each answer is learnt as well.
        assert set(theirs) <= set(ours)
        extra = [tokens.ids[i] for i in set(ours) - set(theirs)]
        assert tokenizer.decode(extra).strip() == ""
        assert len(extra) <= (2 if text == LLAMA else 0)


def test_real_tokenizer_prints_its_start_token_once(data_folder):
    tokenizer = with_template(LLAMA, real_tokenizer(data_folder, "llama2"))
    turns = said("3 dogs")
    tokens = tokenize(template().spans(turns, tokenizer), tokenizer)
    oracle = tokenizer.apply_chat_template(messages(turns), return_dict=True)["input_ids"]
    assert list(tokens.ids) == oracle
    assert tokens.ids.count(tokenizer.bos_token_id) == 2
    bare = with_template(CHATML, real_tokenizer(data_folder, "llama2"))
    assert bare.bos_token_id not in tokenize(template().spans(turns, bare), bare).ids


@pytest.mark.parametrize("text", [CHATML, LLAMA, ROLES, WORDY])
def test_prompt_is_a_prefix_and_is_what_transformers_would_ask_with(text):
    tokenizer = with_template(text)
    # The template's newline would join that of an answer of newlines alone: see test_encode.
    for answer in ANSWERS if text == CHATML else [*ANSWERS, "\n", "\n\n"]:
        turns = said(answer)
        tokens = tokenize(template().spans(turns, tokenizer), tokenizer)
        for asked in (1, 3):
            prompt = tokenize(template().prompt(turns[:asked], tokenizer), tokenizer)
            assert prompt.ids == tokens.ids[: len(prompt.ids)]
            if text == CHATML:
                expected = tokenizer.apply_chat_template(
                    messages(turns[:asked]), add_generation_prompt=True, return_dict=True
                )
                assert list(prompt.ids) == expected["input_ids"]


def test_stop_is_the_first_special_token_behind_an_answer_or_else_all_text():
    for text, stop in ((CHATML, "<|im_end|>"), (LLAMA, "</s>"), (WORDY, "\n###\n")):
        assert template().stop(with_template(text)) == stop
    with pytest.raises(PartError, match="would never stop"):
        template().stop(with_template("{% for m in messages %}{{ m.content }}{% endfor %}"))


def test_answer_that_repeats_in_the_question_is_learnt_only_as_answer():
    tokenizer = with_template(CHATML)
    turns = (Turn("user", ("yes",)), Turn("assistant", ("yes",)))
    spans = template().spans(turns, tokenizer)
    assert TextSpan("yes", supervised=False, typed=True) in spans
    assert TextSpan("yes", supervised=True, typed=True) in spans


def test_images_stand_where_their_slots_do_and_typed_specials_stay_text():
    tokenizer = with_template(LLAMA)
    turns = (
        Turn("user", ("  see ", ImageSlot(1), "\nand", ImageSlot(0), " ")),
        Turn("assistant", ("</s> isthmusw0x <image>",)),
    )
    spans = template().spans(turns, tokenizer)
    assert spans[0] == NoStart()
    texts = [s if isinstance(s, ImageSpan) else s.text for s in spans[1:] if s != TextSpan("")]
    assert "".join(t if isinstance(t, str) else f"({t.index})" for t in texts) == (
        "<s>[INST] see (1)\nand(0) [/INST] </s> isthmusw0x <image> </s>"
    )
    tokens = tokenize(spans, tokenizer)
    assert tokens.ids.count(Tokens.IMAGE) == 2
    assert tokens.ids.count(tokenizer.eos_token_id) == 1


def test_answer_that_nobody_would_generate_so_is_not_learnt():
    tokenizer = with_template(THOUGHTS)
    turns = said("yes", rounds=2)
    spans = template().spans(turns, tokenizer)
    learnt = [s for s in spans if not isinstance(s, NoStart | ImageSpan | ControlSpan)]
    assert [s.text for s in learnt if s.supervised and s.text] == ["yes", "<|im_end|>"]
    assert spans.index(next(s for s in spans if getattr(s, "supervised", False))) > 5
    prompt = template().prompt(turns[:1], tokenizer)
    assert prompt[-1].text.endswith("<think>\n\n</think>\n\n")


def test_arguments_reach_the_template():
    tokenizer = with_template("{% for m in messages %}{{ tag + m.content + '|' }}{% endfor %}")
    spans = template(tag="#").spans(said("a", 1), tokenizer)
    assert next(s.text for s in spans[1:]).startswith("#")


@pytest.mark.parametrize(
    ("text", "error", "said_so"),
    [
        (None, PartError, "no chat template"),
        (ROLES, DataError, "refuses this: no system here"),
        ("{% for m in messages %}{{ m.content | upper + '|' }}{% endfor %}", DataError, "turn"),
        ("{{ messages[-1].content + '|' }}", DataError, "leaves out a turn"),
        (
            "{% for m in messages %}{{ m.content.split('z')[-1] + '|' }}{% endfor %}",
            DataError,
            "changes the words",
        ),
        ("{{ ''.__class__.__mro__ }}", DataError, "refuses this"),
    ],
)
def test_template_that_cannot_be_followed_is_refused(text, error, said_so):
    turns = (Turn("system", ("be brief",)), Turn("user", ("hi",)), Turn("assistant", ("azb",)))
    tokenizer = with_template(text) if text else copy.deepcopy(small_tokenizer())
    with pytest.raises(error, match=said_so):
        template().spans(turns, tokenizer)


WORDS = st.text(st.sampled_from("ab \n\t</s>|7\u732b"), max_size=8)
PRINTERS = {text: with_template(text) for text in (CHATML, LLAMA, ROLES, WORDY)}


@settings(max_examples=50, deadline=None)
@given(
    text=st.sampled_from(sorted(PRINTERS)),
    pairs=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3),
)
def test_spans_read_one_after_another_are_the_printed_string(text, pairs):
    tokenizer = PRINTERS[text]
    turns = [t for q, a in pairs for t in (Turn("user", (q,)), Turn("assistant", (a,)))]
    printed = tokenizer.apply_chat_template(messages(turns), tokenize=False)
    spans = template().spans(turns, tokenizer)
    assert "".join(span.text for span in spans[1:]) == printed
    prompt = template().prompt(turns[:-1], tokenizer)
    assert printed.startswith("".join(span.text for span in prompt[1:]))
