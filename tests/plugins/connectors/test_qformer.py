"""The Q-Former as a connector: out of published models' folders, and beside them end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2ForImageTextRetrieval,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
)

from isthmus.core.contracts import (
    ConnectorText,
    Encoder,
    Features,
    Grid,
    Images,
    Pack,
    Segments,
)
from isthmus.core.model.generate import Prompt, Settings, Stops, generate
from isthmus.core.model.transform import FitTransform
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.errors import PartError
from isthmus.plugins.connectors.qformer import Qformer
from isthmus.plugins.llms.causal import Causal
from isthmus.testing import tiny_pictures, tiny_texts, tiny_tokenizer

VISION = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "model_type": "opt",
    "hidden_size": 32,
    "ffn_dim": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 300,
    "max_position_embeddings": 128,
    "word_embed_proj_dim": 32,
    "dropout": 0.0,
}
BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 56,
    "vocab_size": 300,
    "max_position_embeddings": 20,
}
WHOLE = {
    "vision_config": VISION,
    "text_config": TEXT,
    "qformer_config": BERT,
    "num_query_tokens": 5,
    "image_token_index": 290,
}
FAMILIES = {
    "blip2": (Blip2ForConditionalGeneration, Blip2Config(**WHOLE)),
    "retrieval": (
        Blip2ForImageTextRetrieval,
        Blip2Config(**WHOLE | {"qformer_config": BERT | {"use_qformer_text_input": True}}),
    ),
    "instructblip": (InstructBlipForConditionalGeneration, InstructBlipConfig(**WHOLE)),
    "bert": (BertModel, BertConfig(**BERT)),
}
VALUES = torch.randn(3, 17, 24, generator=torch.Generator().manual_seed(0))
FEATURES = Features(VALUES.flatten(0, 1), ((Grid(4, 4, prefix=1),),) * 3)
WORDS = ConnectorText.of([[5, 6, 7, 8], [9], [10, 11]])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    """Family -> a folder as it is published, in several files, and the model in it."""
    made = {}
    for name, (cls, config) in FAMILIES.items():
        folder = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        model = cls(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():  # those of norms and biases, too
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
        model.save_pretrained(folder, max_shard_size="100KB")
        place = folder / "qformer_tokenizer" if name == "instructblip" else folder
        tiny_tokenizer().save_pretrained(place)
        made[name] = (folder, model)
    return made


def built(folder: Path, dim_in: int = 24, **fields: Any) -> Qformer:
    config = Qformer.Config(model=str(folder), **{"queries": 5, **fields})
    made: Qformer = config.build(dim_in=dim_in, dim_out=32)
    return made.eval()


def alike(got: Tensor, wanted: Tensor) -> bool:
    assert got.shape == wanted.shape
    return bool((got - wanted).norm() < 1e-5 * wanted.norm())


def test_out_of_a_blip2_come_its_visual_tokens(folders) -> None:
    folder, theirs = folders["blip2"]
    queries = theirs.query_tokens.expand(3, -1, -1)
    found = theirs.qformer(query_embeds=queries, encoder_hidden_states=VALUES)
    wanted = theirs.language_projection(found.last_hidden_state)
    assert alike(built(folder)(FEATURES), wanted.flatten(0, 1))


def test_out_of_an_instructblip_come_its_visual_tokens(folders) -> None:
    folder, theirs = folders["instructblip"]
    ours = built(folder, text="instruction")
    found = theirs.qformer(
        input_ids=WORDS.ids,
        attention_mask=torch.cat([torch.ones(3, 5), WORDS.mask], dim=1).long(),
        query_embeds=theirs.query_tokens.expand(3, -1, -1),
        encoder_hidden_states=VALUES,
    )
    wanted = theirs.language_projection(found.last_hidden_state[:, :5])
    assert alike(ours(FEATURES, WORDS), wanted.flatten(0, 1))
    assert not alike(ours(FEATURES), wanted.flatten(0, 1))
    assert len(ours.tokenizer) == len(tiny_tokenizer())


def test_out_of_a_blip2_for_retrieval_come_its_queries_with_text(folders) -> None:
    folder, theirs = folders["retrieval"]
    ours = built(folder, text="instruction")
    both = theirs.embeddings(WORDS.ids, query_embeds=theirs.query_tokens.expand(3, -1, -1))
    found = theirs.qformer(
        query_embeds=both,
        query_length=5,
        attention_mask=torch.cat([torch.ones(3, 5), WORDS.mask], dim=1).long(),
        encoder_hidden_states=VALUES,
    ).last_hidden_state
    seen, read = ours.qformer.look_and_read((VALUES, None), WORDS)
    assert alike(seen, found[:, :5])
    assert alike(read[WORDS.mask], found[:, 5:][WORDS.mask])


def test_out_of_bert_come_all_its_weights_and_text_is_read_as_it_does(folders) -> None:
    folder, theirs = folders["bert"]
    ours = built(folder, text="objective")
    wanted = theirs(input_ids=WORDS.ids, attention_mask=WORDS.mask.long()).last_hidden_state
    assert alike(ours.qformer.read(WORDS)[WORDS.mask], wanted[WORDS.mask])
    for block in ours.qformer.blocks:  # queries begin with the same feed-forward layers
        for one, other in ((block.query, block.text), (block.query_norm, block.text_norm)):
            pairs = zip(one.parameters(), other.parameters(), strict=True)
            assert all(torch.equal(*pair) for pair in pairs)
    assert [block.cross is not None for block in ours.qformer.blocks] == [True, False, True]


def test_what_an_objective_uses_changes_no_visual_token(folders) -> None:
    folder, _ = folders["retrieval"]
    plain, able = built(folder), built(folder, text="objective")
    able.projection.load_state_dict(plain.projection.state_dict())
    assert plain.tokenizer is None
    assert alike(able(FEATURES, WORDS), plain(FEATURES))


def test_a_projection_to_another_width_is_drawn(folders) -> None:
    folder, theirs = folders["blip2"]
    config = Qformer.Config(model=str(folder), queries=5)
    wider = config.build(dim_in=24, dim_out=48)
    assert wider.projection.weight.shape == (48, 32)
    assert torch.equal(wider.qformer.queries, theirs.query_tokens[0])


def test_a_word_table_grows_by_the_mean_where_the_tokenizer_has_more(folders) -> None:
    folder, theirs = folders["bert"]
    more = tiny_tokenizer()
    more.add_tokens([f"<{number}>" for number in range(301 - len(more))])
    config = Qformer.Config(model=str(folder), queries=5, text="instruction")
    made = config.build(dim_in=24, dim_out=32, tokenizer_object=more)
    words = theirs.embeddings.word_embeddings.weight
    assert torch.equal(made.qformer.words.weight[:300], words)
    assert torch.allclose(made.qformer.words.weight[300], words.mean(dim=0))


def test_text_is_cut_to_the_positions_there_are(folders) -> None:
    ours = built(folders["bert"][0], text="instruction")
    assert ours.tokenizer.model_max_length == 20
    longest = ConnectorText.of([[5] * 20] * 3)
    assert ours(FEATURES, longest).isfinite().all()


@pytest.mark.parametrize(
    ("family", "fields", "place", "message"),
    [
        ("blip2", {"queries": 32}, ("queries",), "has 5, not 32; write `queries: 5`"),
        ("blip2", {"text": "instruction"}, ("text",), "no layers for text; write `text: none`"),
        ("blip2", {"layers": 3}, ("layers",), "comes with `model`"),
        ("bert", {"words": 3, "text": "objective"}, ("words",), "comes with `model`"),
        (None, {"text": "instruction"}, ("tokenizer",), "write `tokenizer: bert-base-uncased`"),
        (None, {"tokenizer": "bert-base-uncased"}, ("tokenizer",), "write `text: instruction`"),
        (None, {"words": 300}, ("words",), "write `text: instruction`"),
        (None, {"dim": 30, "heads": 4}, ("heads",), "4 heads cannot share 30 numbers"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_loaded(
    folders, family: str | None, fields: dict[str, Any], place: tuple[str], message: str
) -> None:
    model = str(folders[family][0]) if family else None
    problems = dict(Qformer.Config(**{"model": model, "queries": 5, **fields}).check())
    assert message in problems[place]


def test_a_folder_of_another_family_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    ((place, why),) = Qformer.Config(model=str(tmp_path)).check()
    assert place == ("model",)
    assert why == f"{tmp_path} is a 'vit' model; a Q-Former begins from bert, blip-2, instructblip"


def test_features_of_another_width_are_refused(folders) -> None:
    with pytest.raises(PartError, match="looks at features 24 wide, and the encoder's are 48"):
        built(folders["blip2"][0], dim_in=48)


def test_a_folder_that_lacks_weights_is_refused(folders, tmp_path: Path) -> None:
    _, theirs = folders["blip2"]
    kept = {k: v for k, v in theirs.state_dict().items() if "layer.1.attention.output" not in k}
    theirs.save_pretrained(tmp_path, state_dict=kept)
    with pytest.raises(PartError, match="lacks 4 of this Q-Former's weights"):
        built(tmp_path)


def test_its_own_tokenizer_is_trained_on_the_runs_text() -> None:
    config = Qformer.Config(
        dim=32, layers=1, heads=4, hidden=48, text="instruction", tokenizer={"vocab_size": 280}
    )
    made = config.build(dim_in=24, dim_out=32, texts=tiny_texts)
    assert len(made.tokenizer) == 280 == made.qformer.shape.words


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
def models(request: pytest.FixtureRequest, folders) -> tuple[VisionLanguageModel, Any]:
    """Ours, of the folder's parts, and transformers' whole model with OPT."""
    folder, theirs = folders[request.param]
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
