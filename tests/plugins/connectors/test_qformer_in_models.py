"""The Q-Former between an image tower and OPT, beside transformers' whole models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import InstructBlipForConditionalGeneration

from isthmus.core.contracts import ConnectorText, Encoder, Features, Grid, Images, Pack, Segments
from isthmus.core.model.generate import Prompt, Settings, Stops, generate
from isthmus.core.model.transform import FitTransform
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.plugins.llms.causal import Causal
from isthmus.testing import tiny_pictures, tiny_tokenizer
from tests.oracles import alike
from tests.plugins.connectors.published_qformers import built, save_published


class Eva(Encoder, name="eva"):
    """BLIP-2's image tower, as transformers has it."""

    def __init__(self, config: Any, tower: Any) -> None:
        super().__init__()
        self.tower, self.dim = tower, 24
        self.transform = FitTransform((32, 32), Grid(4, 4, prefix=1), "resize")

    def forward(self, images: Images) -> Features:
        seen = self.tower(pixels(images)).last_hidden_state
        return Features(seen.flatten(0, 1), images.grids)


def pixels(images: Images) -> Tensor:
    return images.pixels / 255 - 0.5


IMAGE, PLACES = 290, 5
SAMPLES = [
    [*[IMAGE] * PLACES, 2, 40, 41, 42],
    [*[IMAGE] * PLACES, 2, 50, 51, 52, 53, 54, 55],
    [2, 60, *[IMAGE] * PLACES, 61],
]
ASKED = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]
"""What the connector reads beside the image of each."""


@pytest.fixture(scope="module", params=["blip2", "instructblip"])
def models(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[VisionLanguageModel, Any]:
    """Ours, of the folder's parts, and transformers' whole model with OPT."""
    folder = tmp_path_factory.mktemp(request.param)
    theirs = save_published(request.param, folder)
    llm = folder / "opt"
    theirs.language_model.save_pretrained(llm)
    reads = "instruction" if request.param == "instructblip" else "none"
    ours = VisionLanguageModel(
        Eva.Config().build(tower=theirs.vision_model),
        built(folder, text=reads),
        Causal.Config(model=str(llm)).build(tokenizer_object=tiny_tokenizer()),
    )
    return ours.eval(), theirs


def images(ours: VisionLanguageModel, which: list[int]) -> Images:
    return Images.of([tiny_pictures()[index] for index in which], ours.encoder.transform)


def instructions(theirs: Any, which: list[int]) -> dict[str, Tensor]:
    """What InstructBLIP is told besides, each image its own words; nothing for BLIP-2."""
    if not isinstance(theirs, InstructBlipForConditionalGeneration):
        return {}
    text = ConnectorText.of([ASKED[index] for index in which])
    return {"qformer_input_ids": text.ids, "qformer_attention_mask": text.mask.long()}


def pack(ours: VisionLanguageModel, samples: list[int]) -> Pack:
    ids = torch.tensor([token for index in samples for token in SAMPLES[index]])
    return Pack(
        ids=ids.clamp(max=IMAGE - 1),
        targets=ids,
        segments=Segments(tuple(len(SAMPLES[index]) for index in samples)),
        visual=(ids == IMAGE).nonzero()[:, 0],
        images=images(ours, samples),
        stands=torch.zeros(0, 2, dtype=torch.long),
        samples=tuple(map(str, samples)),
        weight=1.0,
        text=ConnectorText.of([ASKED[index] for index in samples]),
    )


@pytest.mark.parametrize("samples", [[0], [0, 1, 2]])
@torch.no_grad()
def test_logits_are_those_of_transformers_with_opt(models, samples: list[int]) -> None:
    ours, theirs = models
    got = ours.llm.head(ours.hidden(pack(ours, samples)))
    longest = max(len(SAMPLES[index]) for index in samples)
    behind = [longest - len(SAMPLES[index]) for index in samples]
    ids = [SAMPLES[index] + [1] * more for index, more in zip(samples, behind, strict=True)]
    mask = torch.tensor([[1] * (longest - more) + [0] * more for more in behind])
    wanted = theirs(
        pixel_values=pixels(images(ours, samples)),
        input_ids=torch.tensor(ids),
        attention_mask=mask,
        **instructions(theirs, samples),
    ).logits
    assert alike(got, wanted[mask.bool()])


def test_greedy_answers_are_those_of_transformers_with_opt(models) -> None:
    ours, theirs = models
    prompts = []
    for index, sample in enumerate(SAMPLES):
        ids = torch.tensor(sample)
        visual = (ids == IMAGE).nonzero()[:, 0]
        seen, asked = images(ours, [index]), (tuple(ASKED[index]),)
        prompts.append(Prompt(ids.clamp(max=IMAGE - 1), visual, seen, index, texts=asked))
    answers = generate(ours, prompts, Settings(max_new_tokens=10), Stops())
    for index, answer in enumerate(answers):
        wanted = theirs.generate(
            pixel_values=pixels(images(ours, [index])),
            input_ids=torch.tensor([SAMPLES[index]]),
            max_new_tokens=10,
            do_sample=False,
            eos_token_id=None,
            **instructions(theirs, [index]),
        )
        assert answer.ids == tuple(wanted[0, -10:].tolist())
    assert len({answer.ids for answer in answers}) > 1
