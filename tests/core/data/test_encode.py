"""Labels by character offsets, with the tokenizers of LLaMA-2, Mistral and GPT-2."""

from __future__ import annotations

import copy
import json
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus.core.contracts import (
    ControlSpan,
    ImageSlot,
    ImageSpan,
    NoStart,
    TextSpan,
    Turn,
)
from isthmus.core.data.encode import Tokens, lay_out, tokenize
from isthmus.core.data.runs import MARK
from isthmus.errors import PartError
from isthmus.plugins.templates.chatml import ChatML
from isthmus.plugins.templates.llama2 import Llama2
from isthmus.plugins.templates.plain import Plain
from isthmus.plugins.templates.vicuna_v1 import VicunaV1
from tests.published import FORMATS
from tests.tokenizers import REAL, SMALL, real_tokenizer, small_tokenizer

TEMPLATES = {t.name: t.Config().build() for t in (Plain, VicunaV1, Llama2, ChatML)}

ADVERSARIAL = [
    *("A cat.", " leading space", "trailing space ", "two  spaces", "   three", " ", "  ", ""),
    *("\u65e5\u672c\u8a9e\U0001f600", "\xe9 caf\xe9 na\xefve", "\ufb01 ligature \u2460", "e\u0301"),
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 family",
    *("\nnewline first", "\n\ntwo newlines first", "\n\n\nthree", "line\n\nline", "\n", "\n\n"),
    *("tab\tx", "\ttab first", "\t", "ends\n", "ends\n\n", "\r\nwindows\r\n", "\xa0nbsp\xa0"),
    *("42", "3 dogs", " 42", ".dot", "</", "<", "USER: ASSISTANT:", "\u2581 metaspace"),
]
TYPED = ["</s>", "a </s> b", "<s>", "<image>", "look: <image>", "<unk>", "<|endoftext|>"]
TYPED += ["[INST] x [/INST]", "\ue000", f"{MARK}0\ue001", f"{MARK}{MARK}1\ue001"]


@pytest.fixture(scope="module")
def answers(data_folder) -> list[str]:
    """1,000 answers of GPT-4 and of people."""
    found = []
    for name, key in (("llava_repo/qa90_gpt4_answer", "text"), ("coco/captions_val2017", None)):
        for line in (data_folder / f"{name}.jsonl").read_text().splitlines():
            row = json.loads(line)
            found.append(row[key] if key else row["captions"][0])
    return found[:1000]


def conversation(*answers: str) -> tuple[Turn, ...]:
    asked = (ImageSlot(0), "\nWhat is this?")
    turns: list[Turn] = []
    for answer in answers:
        turns += [Turn("user", asked), Turn("assistant", (answer,))]
        asked = ("And then?",)
    return tuple(turns)


def rounds(*answers: str) -> list[tuple[str, str]]:
    questions = ["<image>\nWhat is this?", "And then?"]
    return list(zip(questions, answers, strict=False))


def with_image(tokenizer):
    """The tokenizer, knowing `<image>`, and the id of that."""
    own = copy.deepcopy(tokenizer)
    own.add_tokens(["<image>"], special_tokens=True)
    return own, own.convert_tokens_to_ids("<image>")


def runs_of(supervised) -> list[list[int]]:
    found: list[list[int]] = []
    for index in (i for i, learnt in enumerate(supervised) if learnt):
        if found and found[-1][-1] == index - 1:
            found[-1].append(index)
        else:
            found.append([index])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", REAL)
def test_ids_and_labels_over_real_and_adversarial_answers(name, format_, data_folder, answers):
    tokenizer = real_tokenizer(data_folder, name)
    oracle, image = with_image(tokenizer)
    template = TEMPLATES[format_]
    start = "" if name == "gpt2" else "<s>"
    differ = []
    for answer in answers + ADVERSARIAL:
        # Published `plain` has one round.
        given_ = (answer,) if format_ == "plain" else (answer, f"ok {answer}")
        pieces = FORMATS[format_](rounds(*given_), start, tokenizer.eos_token)
        tokens = tokenize(template.spans(conversation(*given_), tokenizer), tokenizer)
        ids = [image if id == Tokens.IMAGE else id for id in tokens.ids]
        expected = oracle("".join(text for text, _ in pieces), return_offsets_mapping=True)
        if ids != expected.input_ids:
            differ.append(answer)
            continue
        check_labels(tokens, pieces, expected.offset_mapping)
        assert any(learnt and template.stop(tokenizer) in text for text, learnt in pieces)
    # GPT-2 joins ChatML's newline with two or more of the answer. The prompt must not change.
    joined = [a for a in ADVERSARIAL if a.startswith("\n\n")]
    assert differ == (joined if (name, format_) == ("gpt2", "chatml") else [])


def check_labels(tokens, pieces, offsets):
    """Supervised are exactly the characters of each answer and its stop, and at most the one
    space before them."""
    at, places = 0, []
    for text, learnt in pieces:
        if learnt:
            places.append((at, at + len(text)))
        at += len(text)
    groups = runs_of(tokens.supervised)
    assert len(groups) == len(places)
    for group, (begin, end) in zip(groups, places, strict=True):
        covered = [offsets[index] for index in group]
        assert min(b for b, _ in covered) in (begin, begin - 1)
        assert max(e for _, e in covered) == end
        assert all(b <= previous_end for (_, previous_end), (b, _) in pairwise(covered))
        outside = [o for i, o in enumerate(offsets) if not tokens.supervised[i]]
        assert not any(b < end and e > begin for b, e in outside)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", [*REAL, *SMALL])
def test_prompt_is_a_prefix_of_training_in_every_case(name, format_, request):
    tokenizer = tokenizer_named(name, request)
    template = TEMPLATES[format_]
    for answer in ADVERSARIAL + TYPED:
        turns = conversation(answer, answer + " again")
        tokens = tokenize(template.spans(turns, tokenizer), tokenizer)
        for asked in (1, 3):
            prompt = tokenize(template.prompt(turns[:asked], tokenizer), tokenizer)
            assert prompt.ids == tokens.ids[: len(prompt.ids)], answer
            # What follows the prompt is all learnt, as far as the answer's stop.
            rest = tokens.supervised[len(prompt.ids) :]
            group = next(g for g in runs_of(tokens.supervised) if g[-1] >= len(prompt.ids))
            assert all(rest[: group[-1] + 1 - len(prompt.ids)]), answer


def tokenizer_named(name, request):
    if name in REAL:
        return real_tokenizer(request.getfixturevalue("data_folder"), name)
    return small_tokenizer(name)


@pytest.mark.parametrize("name", [*REAL, *SMALL])
def test_typed_special_strings_stay_text(name, request):
    tokenizer = tokenizer_named(name, request)
    template = TEMPLATES["vicuna_v1"]
    clean = tokenize(template.spans(conversation("x"), tokenizer), tokenizer)
    for typed in TYPED:
        turns = (Turn("user", (typed,)), Turn("assistant", (typed,)))
        tokens = tokenize(template.spans(turns, tokenizer), tokenizer)
        assert Tokens.IMAGE not in tokens.ids
        for special in tokenizer.all_special_ids:
            if special != tokenizer.unk_token_id:
                assert tokens.ids.count(special) == clean.ids.count(special), typed
        learnt = [i for i, s in zip(tokens.ids, tokens.supervised, strict=True) if s]
        if name not in ("wordpiece", "unigram"):
            assert tokenizer.decode(learnt[:-1]).strip() == typed


def test_special_strings_that_nobody_typed_are_control_tokens():
    tokenizer = small_tokenizer()
    spans = [TextSpan("a</s>b", supervised=True), TextSpan("</s>", typed=True)]
    tokens = tokenize(spans, tokenizer)
    assert tokens.ids.count(tokenizer.eos_token_id) == 1
    assert tokens.ids[1] == tokenizer.eos_token_id
    assert tokens.supervised[:3] == (True, True, True)
    assert not any(tokens.supervised[3:])


def test_control_token_that_is_no_special_token_cannot_be_typed_either():
    tokenizer = copy.deepcopy(small_tokenizer())
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"])
    turns = (Turn("user", ("<|im_end|> hi",)), Turn("assistant", ("<|im_end|>",)))
    tokens = tokenize(TEMPLATES["chatml"].spans(turns, tokenizer), tokenizer)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokens.ids.count(end) == 2
    assert tokens.supervised[tokens.ids.index(end, tokens.ids.index(end) + 1)]


def test_stripping_flags_of_control_tokens_act_as_in_the_tokenizer():
    from tokenizers import AddedToken

    tokenizer = copy.deepcopy(small_tokenizer())
    special = {"special": True, "normalized": False}
    tokenizer.add_tokens([AddedToken("<|a|>", rstrip=True, **special)])
    tokenizer.add_tokens([AddedToken("<|b|>", lstrip=True, **special)])
    spans = [ControlSpan("<|a|>"), TextSpan(" \n dog runs \n"), ControlSpan("<|b|>")]
    expected = tokenizer("<|a|> \n dog runs \n<|b|>").input_ids
    assert list(tokenize(spans, tokenizer).ids) == expected


def test_start_token_is_the_tokenizers_own_and_stays_away_when_told(data_folder):
    llama = real_tokenizer(data_folder, "llama2")
    assert tokenize([TextSpan("a")], llama).ids == tuple(llama("a").input_ids)
    assert tokenize([], llama).ids == (llama.bos_token_id,)
    printed = [NoStart(), TextSpan("<s>[INST] a")]
    expected = llama("<s>[INST] a", add_special_tokens=False).input_ids
    assert list(tokenize(printed, llama).ids) == expected


def test_added_tokens_are_seen_after_the_tokenizer_was_first_used():
    tokenizer = copy.deepcopy(small_tokenizer())
    assert len(tokenize([TextSpan("<new>")], tokenizer).ids) > 1
    tokenizer.add_tokens(["<new>"])
    assert tokenize([TextSpan("<new>")], tokenizer).ids == (len(tokenizer) - 1,)


def test_unknown_control_token_and_slow_tokenizer_are_named():
    with pytest.raises(PartError, match="'<|nope|>'".replace("|", r"\|")):
        tokenize([ControlSpan("<|nope|>")], small_tokenizer())

    class Slow:
        is_fast = False

        def __len__(self):
            return 1

    with pytest.raises(PartError, match="Slow gives no character offsets"):
        tokenize([TextSpan("a")], Slow())


def test_whitespace_inside_an_answer_is_learnt_though_offsets_leave_it_out():
    tokenizer = small_tokenizer("trimming")
    spans = [TextSpan("Q:"), TextSpan(" ", True), TextSpan("a   b \n c", True, True)]
    tokens = tokenize(spans, tokenizer)
    first = tokens.supervised.index(True)
    assert all(tokens.supervised[first:])
    assert tokenizer.decode(tokens.ids[first:]) == " a   b \n c"


WORDS = st.text(st.characters(codec="utf-8"), max_size=12)
PARTS = st.sampled_from(["</s>", "<s>", "<image>", " ", "\n", "\n\n", "\t", "<|im_end|>", "7"])
SAID = st.lists(WORDS | PARTS, max_size=4).map("".join)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(SMALL),
    format_=st.sampled_from(sorted(FORMATS)),
    said=st.lists(st.tuples(SAID, SAID), min_size=1, max_size=3),
)
def test_any_conversation_has_its_prompts_as_prefixes_and_learns_its_stops(name, format_, said):
    tokenizer, template = small_tokenizer(name), TEMPLATES[format_]
    turns: list[Turn] = []
    for question, answer in said:
        turns += [Turn("user", (question,)), Turn("assistant", (answer,))]
    tokens = tokenize(template.spans(turns, tokenizer), tokenizer)
    assert len(tokens.ids) == len(tokens.supervised)
    for asked in range(1, len(turns), 2):
        prompt = tokenize(template.prompt(turns[:asked], tokenizer), tokenizer)
        assert prompt.ids == tokens.ids[: len(prompt.ids)]
        shorter = tokenize(template.spans(turns[: asked + 1], tokenizer), tokenizer)
        # These two leave out newlines, and with them the stop of `plain`.
        if name not in ("wordpiece", "unigram"):
            assert any(shorter.supervised[len(prompt.ids) :])
    if template.stop(tokenizer) == "</s>":
        ends = [s for i, s in zip(tokens.ids, tokens.supervised, strict=True) if i == 2]
        assert ends == [True] * len(said)


def test_images_take_their_places_and_are_never_cut_through():
    tokens = tokenize(
        [TextSpan("ab"), ImageSpan(1), TextSpan("cd", supervised=True), ImageSpan(0)],
        small_tokenizer(),
    )
    at = tokens.ids.index(Tokens.IMAGE)
    whole = lay_out(tokens, {0: 3, 1: 4})
    assert len(whole.ids) == len(tokens.ids) + 2 + 3
    assert whole.visual[:4] == tuple(range(at, at + 4))
    assert whole.visual[4:] == tuple(range(len(whole.ids) - 3, len(whole.ids)))
    assert whole.images == (1, 0)
    for length in range(len(whole.ids) + 1):
        cut = lay_out(tokens, {0: 3, 1: 4}, length)
        assert len(cut.ids) <= length
        assert cut.ids == whole.ids[: len(cut.ids)]
        assert len(cut.visual) == {0: 0, 1: 4, 2: 7}[len(cut.images)]
    assert lay_out(tokens, {0: 0, 1: 0}).visual == ()
