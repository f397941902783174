"""Generation: batches, stops, drawing, streaming. Greedy tokens beside transformers' own are
compared in `test_llava_oracle.py` and `tests/plugins/llms`."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from isthmus.core.contracts import (
    CausalLLM,
    Images,
    Pack,
    Segments,
)
from isthmus.core.model.build import build_model
from isthmus.core.model.generate import Answer, Prompt, Stops, generate, stream
from isthmus.core.model.settings import Settings
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.errors import InputError, PartError
from isthmus.testing import tiny_model_config, tiny_pictures, tiny_tokenizer
from tests.core.model.gated import gated

TOKENIZER = tiny_tokenizer()
NOTHING = torch.empty(0, dtype=torch.long)


@pytest.fixture(scope="module")
def model() -> VisionLanguageModel:
    return build_model(tiny_model_config(), tokenizer=TOKENIZER)


def text(count: int, number: int = 0) -> Prompt:
    return Prompt(torch.arange(3, 3 + count), NOTHING, number=number)


def picture(model: VisionLanguageModel, number: int = 0) -> Prompt:
    images = Images.of(tiny_pictures()[:1], model.encoder.transform)
    return Prompt(torch.arange(3, 30), torch.arange(5, 21), images, number)


class Scripted(CausalLLM):
    """Says what the script says, whatever it reads: one row of token ids a sequence."""

    def __init__(self, rows: list[list[int]], shares: list[float] | None = None) -> None:
        super().__init__()
        self.rows, self.shares = rows, shares
        self.dim, self.tokenizer = 4, TOKENIZER
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.masks: list[torch.Tensor] = []

    def embed(self, ids):
        return torch.zeros(*ids.shape, self.dim)

    def decode(self, embeds, mask, cache=None, layer_inputs=None):
        step = cache or 0
        self.masks.append(mask)
        hidden = torch.zeros(*embeds.shape)
        hidden[:, -1, 0] = torch.tensor([float(row[step]) for row in self.rows])
        return hidden, step + 1

    def head(self, hidden):
        if self.shares is not None:
            return torch.tensor(self.shares).log().expand(len(hidden), -1)
        return torch.nn.functional.one_hot(hidden[:, 0].long(), 300).float()

    def forward(self, embeds, segments, layer_inputs=None):
        raise NotImplementedError

    @property
    def decoder_layers(self):
        return torch.nn.ModuleList()


def scripted(*rows: list[int], **options) -> tuple[VisionLanguageModel, list[Prompt]]:
    prompts = [text(3 + number, number) for number in range(len(rows))]
    return VisionLanguageModel(llm=Scripted(list(rows), **options)), prompts


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0, "top_p": 0.9, "seed": 5}])
def test_an_answer_does_not_depend_on_the_rest_of_the_batch(model, settings: dict) -> None:
    prompts = [text(9, 0), picture(model, 1), text(2, 2), picture(model, 3)]
    settings = Settings(max_new_tokens=10, **settings)
    together = generate(model, prompts, settings, Stops())
    assert together == [generate(model, [p], settings, Stops())[0] for p in prompts]
    assert all(len(answer.ids) == 10 and answer.ending == "length" for answer in together)


def test_each_sequence_ends_at_its_own_stop() -> None:
    model, prompts = scripted([10, 2, 11, 12], [10, 11, 2, 12], [10, 11, 12, 13])
    answers = generate(model, prompts, Settings(max_new_tokens=4), Stops(ids=frozenset({2})))
    assert [answer.ids for answer in answers] == [(10,), (10, 11), (10, 11, 12, 13)]
    assert [answer.ending for answer in answers] == ["stop", "stop", "length"]


def test_generation_ends_when_all_have_ended() -> None:
    model, prompts = scripted([10, 2, 9, 9], [2, 9, 9, 9])
    generate(model, prompts, Settings(max_new_tokens=4), Stops(ids=frozenset({2})))
    assert len(model.llm.masks) == 2


def test_prompts_are_padded_on_the_left_and_the_mask_grows() -> None:
    model, prompts = scripted([10, 10], [10, 10])
    generate(model, prompts, Settings(max_new_tokens=2), Stops())
    first, second = model.llm.masks
    assert first.tolist() == [[False, True, True, True], [True] * 4]
    assert second.tolist() == [[False, True, True, True, True], [True] * 5]


def test_an_answer_ends_at_a_stop_string_that_spans_tokens() -> None:
    ids = TOKENIZER(" A blue house###")["input_ids"][1:]
    model, prompts = scripted([*ids, *ids])
    settings = Settings(max_new_tokens=2 * len(ids))
    (answer,) = generate(model, prompts, settings, Stops(strings=("###", "USER:")))
    assert answer == Answer(tuple(ids), " A blue house", "stop")


def test_text_is_cut_at_the_first_of_several_stop_strings() -> None:
    ids = TOKENIZER("one\ntwo; three")["input_ids"][1:]
    model, prompts = scripted(ids)
    settings = Settings(max_new_tokens=len(ids))
    (answer,) = generate(model, prompts, settings, Stops(strings=("; ", "\n")))
    assert answer.text == "one"


def test_streaming_gives_every_token_once() -> None:
    model, prompts = scripted([10, 2, 9], [11, 12, 13])
    steps = list(stream(model, prompts, Settings(max_new_tokens=3), Stops(ids=frozenset({2}))))
    assert steps == [(10, 11), (None, 12), (None, 13)]


def test_streaming_begins_before_the_answer_is_whole() -> None:
    model, prompts = scripted([10, 11, 12])
    steps = stream(model, prompts, Settings(max_new_tokens=3), Stops())
    assert next(steps) == (10,)
    assert len(model.llm.masks) == 1


def counts(shares: list[float], **settings) -> list[int]:
    runs = 400
    model, prompts = scripted(*[[0]] * runs, shares=shares)
    answers = generate(model, prompts, Settings(max_new_tokens=1, **settings), Stops())
    drawn = [answer.ids[0] for answer in answers]
    return [drawn.count(token) for token in range(len(shares))]


def near(count: int, share: float) -> bool:
    return abs(count - 400 * share) < 4 * math.sqrt(400 * share * (1 - share))


def test_tokens_are_drawn_by_their_share() -> None:
    shares = [0.5, 0.3, 0.2]
    assert all(map(near, counts(shares, temperature=1.0), shares))


def test_temperature_flattens_and_sharpens() -> None:
    shares = [0.8, 0.2]
    flat = [math.sqrt(share) / (math.sqrt(0.8) + math.sqrt(0.2)) for share in shares]
    sharp = [share**2 / (0.8**2 + 0.2**2) for share in shares]
    assert all(map(near, counts(shares, temperature=2.0), flat))
    assert all(map(near, counts(shares, temperature=0.5), sharp))


def test_top_p_draws_from_the_fewest_tokens_that_reach_it() -> None:
    shares = [0.2, 0.5, 0.3]
    got = counts(shares, temperature=1.0, top_p=0.7)
    assert got[0] == 0
    assert near(got[1], 0.625)
    assert near(got[2], 0.375)
    assert counts(shares, temperature=1.0, top_p=0.5) == [0, 400, 0]


def test_the_seed_decides_what_is_drawn(model: VisionLanguageModel) -> None:
    def drawn(seed: int, number: int) -> Answer:
        settings = Settings(max_new_tokens=12, temperature=1.0, seed=seed)
        return generate(model, [text(4, number)], settings, Stops())[0]

    assert drawn(1, 1) == drawn(1, 1)
    assert len({drawn(1, 1).ids, drawn(2, 1).ids, drawn(1, 2).ids}) == 3


def test_no_prompts_give_no_answers(model: VisionLanguageModel) -> None:
    assert generate(model, [], Settings(), Stops()) == []


def test_an_empty_prompt_is_refused(model: VisionLanguageModel) -> None:
    with pytest.raises(InputError, match="prompt 1 is empty"):
        generate(model, [text(3), text(0)], Settings(), Stops())


def test_a_model_without_an_llm_cannot_answer(model: VisionLanguageModel) -> None:
    with pytest.raises(PartError, match="needs an `llm` in the model, causal or"):
        generate(VisionLanguageModel(encoder=model.encoder), [text(3)], Settings(), Stops())


def test_nothing_is_left_to_learn_from(model: VisionLanguageModel) -> None:
    model.train()
    for _ in stream(model, [text(3)], Settings(max_new_tokens=2), Stops()):
        assert torch.is_grad_enabled()
    assert not model.training


@pytest.mark.parametrize("sees", ["last", "all"])
def test_by_cross_attention_answers_are_those_of_reading_everything_again(model, sees) -> None:
    whole = VisionLanguageModel(model.encoder, gated(0.5, sees=sees), model.llm).eval()
    images = Images.of(tiny_pictures()[:2], model.encoder.transform)
    single = Images.of(tiny_pictures()[2:3], model.encoder.transform)
    prompts = [
        Prompt(torch.arange(3, 12), NOTHING, images, stands=(2, 9)),
        Prompt(torch.arange(5, 10), NOTHING),
        Prompt(torch.arange(4, 16), NOTHING, single, stands=(5,)),
    ]
    settings = Settings(max_new_tokens=8)
    together = generate(whole, prompts, settings, Stops())
    for prompt, answer in zip(prompts, together, strict=True):
        ids = prompt.ids
        for _ in range(settings.max_new_tokens):
            pack = Pack(
                ids=ids,
                targets=ids,
                segments=Segments((len(ids),)),
                visual=NOTHING,
                images=prompt.images,
                stands=torch.tensor([(0, at) for at in prompt.stands]).reshape(-1, 2),
                samples=("1",),
                weight=1.0,
            )
            with torch.no_grad():
                best = whole.llm.head(whole.hidden(pack)[-1:]).argmax(dim=-1)
            ids = torch.cat([ids, best])
        assert answer.ids == tuple(ids[len(prompt.ids) :].tolist())
    blind = generate(
        whole, [replace(p, images=None, stands=()) for p in prompts], settings, Stops()
    )
    assert [a.ids == b.ids for a, b in zip(together, blind, strict=True)] == [False, True, False]
