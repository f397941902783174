"""BLIP's encoder and MED beside transformers' BLIP: out of its folders, the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipForQuestionAnswering,
)

from isthmus.core.checkpoint import load
from isthmus.core.config import create, validate_part
from isthmus.core.contracts import Images, Pack, Segments
from isthmus.core.data.matches import SIMILARITIES, shared
from isthmus.core.model.config import ModelConfig
from isthmus.core.model.contrast import unit
from isthmus.core.model.generate import Prompt, Settings, Stops, generate
from isthmus.core.model.match_reader import picture
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.core.train.run import run
from isthmus.errors import PartError
from isthmus.testing import (
    check_encoder,
    check_llm,
    tiny_encoder_config,
    tiny_texts,
    tiny_tokenizer,
)
from tests.core.train.match_gradients import BERT
from tests.core.train.tiny import CLIP, stage, tiny_run, write_data
from tests.oracles import VISION, near, shifted
from tests.plugins.objectives.matches import matches

GROUNDED, START, STOP = 300, 1, 2
TEXT = {
    "vocab_size": 303,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 20,
    "bos_token_id": START,
    "sep_token_id": STOP,
    "pad_token_id": 0,
}
TEXTS = [[1, 7, 8, 2], [1, 9, 2], [1, 4, 5, 6, 7, 2], [1, 8, 2]]
SIZES = {"dim": 24, "layers": 2, "heads": 4, "hidden": 48, "positions": 20, "dropout": 0.0}


def published(kind: Any, folder: Path) -> Any:
    torch.manual_seed(0)
    config = BlipConfig(vision_config=VISION, text_config=TEXT, image_text_hidden_size=12)
    whole = shifted(kind(config), 0.15).eval()
    whole.save_pretrained(folder)
    return whole


def ours(folder: Path) -> VisionLanguageModel:
    """Encoder and MED out of the folder, in eval mode."""
    encoder: Any = validate_part("encoder", {"type": "blip", "model": str(folder)})
    med: Any = validate_part("llm", {"type": "med", "model": str(folder)})
    tokenizer = tiny_tokenizer()
    model = VisionLanguageModel(
        encoder=encoder.build(), llm=med.build(visual_dim=24, tokenizer_object=tokenizer)
    )
    return model.requires_grad_(False).eval()


def pictures(model: Any, count: int = 4) -> tuple[Images, Tensor]:
    """Images, and their pixels as transformers wants them."""
    torch.manual_seed(2)
    pixels = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8)
    grid = model.encoder.transform.grids((32, 32))
    mean, std = (
        torch.tensor(x)[:, None, None] for x in (model.encoder.pixel_mean, model.encoder.pixel_std)
    )
    return Images(pixels, (1,) * count, (grid,) * count), (pixels / 255 - mean) / std


def pack(images: Images) -> Pack:
    """Each text behind its picture, all of it but the first token to be learnt."""
    rows = [torch.tensor(text) for text in TEXTS]
    targets = torch.cat([torch.cat([row[1:], torch.tensor([Pack.IGNORE])]) for row in rows])
    return Pack(
        ids=torch.cat(rows),
        targets=targets,
        segments=Segments(tuple(map(len, rows))),
        visual=torch.zeros(0, dtype=torch.long),
        images=images,
        stands=torch.stack([torch.arange(4), torch.ones(4, dtype=torch.long)], dim=1),
        samples=tuple("abcd"),
        weight=float((targets != Pack.IGNORE).sum()),
    )


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, VisionLanguageModel]:
    folder = tmp_path_factory.mktemp("captioner")
    return published(BlipForConditionalGeneration, folder), ours(folder)


@torch.no_grad()
def test_encoder_sees_as_transformers_does(captioner: tuple[Any, VisionLanguageModel]):
    theirs, model = captioner
    images, pixels = pictures(model)
    wanted = theirs.vision_model(pixels).last_hidden_state
    assert near(model.encode(images).values, wanted.flatten(0, 1))


@torch.no_grad()
def test_captions_have_the_logits_and_the_loss_of_transformers(
    captioner: tuple[Any, VisionLanguageModel],
):
    theirs, model = captioner
    theirs.text_decoder.label_smoothing = 0.1
    images, pixels = pictures(model)
    given = matches(images, TEXTS)
    labels = given.text.ids.masked_fill(~given.text.mask, -100)
    wanted = theirs(pixels, given.text.ids, given.text.mask.long(), labels=labels)
    batch = pack(images)
    assert near(model.llm.head(model.hidden(batch)), wanted.logits[given.text.mask])
    itg: Any = create("objective", "itg", smoothing=0.1)
    itg.join(model)
    loss = itg(model, given)
    assert loss.weight == sum(len(text) - 1 for text in TEXTS)
    assert near(loss.sum / loss.weight, wanted.loss)
    plain: Any = create("objective", "itg")
    plain.join(model)
    lm: Any = create("objective", "lm")
    assert near(plain(model, given).sum, lm(model, batch).sum)


@torch.no_grad()
@pytest.mark.parametrize("begun", [[START], [START, 7, 9]])
def test_captions_are_the_tokens_of_transformers(
    captioner: tuple[Any, VisionLanguageModel], begun: list[int]
):
    theirs, model = captioner
    images, pixels = pictures(model)
    ids = torch.tensor([[*begun, STOP]] * 4)
    wanted = theirs.generate(
        pixels, ids, torch.ones_like(ids), max_new_tokens=8, do_sample=False, num_beams=1
    )
    prompts = [
        Prompt(torch.tensor(begun), torch.zeros(0, dtype=torch.long), images.take([i]), i, (1,))
        for i in range(4)
    ]
    answers = generate(model, prompts, Settings(max_new_tokens=8), Stops(frozenset({STOP})))
    for answer, row in zip(answers, wanted.tolist(), strict=True):
        said = row[len(begun) :]
        cut = said.index(STOP) if STOP in said else len(said)
        assert list(answer.ids) == said[:cut]
    assert len({answer.ids for answer in answers}) > 1


@torch.no_grad()
def test_matching_and_contrast_have_the_scores_of_transformers(tmp_path: Path):
    theirs = published(BlipForImageTextRetrieval, tmp_path)
    model = ours(tmp_path)
    images, pixels = pictures(model)
    given = matches(images, TEXTS)
    itm: Any = create("objective", "itm", model=str(tmp_path))
    itm.join(model)
    assert model.llm.tokenizer.convert_tokens_to_ids("[ENC]") == GROUNDED
    ids = given.text.ids.clone()
    ids[:, 0] = GROUNDED
    wanted = theirs(ids, pixels, attention_mask=given.text.mask.long()).itm_score
    assert near(itm.logits(model, picture(model, given), given.text), wanted)

    itc: Any = create("objective", "itc", model=str(tmp_path), dim=12)
    itc.join(model)
    opened = shared(given)
    itc(model, opened)
    wanted = theirs(
        given.text.ids, pixels, attention_mask=given.text.mask.long(), use_itm_head=False
    ).itm_score
    assert near(opened.left(SIMILARITIES)[0] / itc.scale(), wanted)
    assert near(unit(itc.image(model.encode(images).values[::17])).norm(dim=1), torch.ones(4))


@torch.no_grad()
def test_what_one_task_published_reads_and_writes_by_the_same_attention(
    captioner: tuple[Any, VisionLanguageModel],
):
    _, model = captioner
    for block in model.llm.bert.blocks:
        own, other = block.attention.state_dict(), block.writing.state_dict()
        assert all(torch.equal(own[key], other[key]) for key in own)


@torch.no_grad()
def test_a_text_sees_its_own_pictures_whatever_lies_beside_it(
    captioner: tuple[Any, VisionLanguageModel],
):
    """Two pictures, none, and one that stands behind its text."""
    _, model = captioner
    images, _ = pictures(model, 3)
    lengths, shown = (4, 3, 5), ((0, 1), (), (2,))
    ids = torch.randint(3, 300, (sum(lengths),))
    stands = torch.tensor([[0, 1], [0, 2], [2, 5]])

    def hidden(segments: tuple[int, ...], ids: Tensor, own: Any, stands: Tensor) -> Tensor:
        nothing = torch.zeros(0, dtype=torch.long)
        names = tuple(map(str, segments))
        return model.hidden(Pack(ids, ids, Segments(segments), nothing, own, stands, names, 1.0))

    together = hidden(lengths, ids, images, stands)
    for number, (text, which) in enumerate(zip(ids.split(lengths), shown, strict=True)):
        own = images.take(which) if which else None
        places = torch.tensor([[0, 1]] * len(which)).reshape(-1, 2)
        alone = hidden((len(text),), text, own, places)
        assert near(together.split(lengths)[number], alone)
    other = hidden(lengths, ids, images.take([0, 1, 0]), stands).split(lengths)
    changed = [not torch.equal(a, b) for a, b in zip(other, together.split(lengths), strict=True)]
    assert changed == [False, False, True]


def test_med_learns_from_packs_some_of_which_have_no_picture(tmp_path: Path):
    write_data(tmp_path, 5, text_only=3)
    model = {"encoder": CLIP, "llm": {"type": "med", **BERT}}
    train = {"encoder": "full", "llm": "full"}
    pieces = {"samples": 4, "micro_samples": 2}
    one = stage(
        tmp_path, train=train, batch=pieces, steps=3, template={"type": "plain", "end": "text"}
    )
    last = load(run(tiny_run(tmp_path, one, model=model)))
    assert last.trainer.step == 3
    assert sorted(last.model().parts()) == ["encoder", "llm"]


def test_med_conforms():
    config: Any = validate_part("llm", {"type": "med", **SIZES, "tokenizer": {"vocab_size": 300}})
    check_llm(config, texts=tiny_texts)
    check_llm(config, texts=tiny_texts, visual_dim=12)


def test_encoder_conforms():
    check_encoder(validate_part("encoder", {"type": "blip", "config": VISION}))


def test_reading_and_writing_share_all_but_self_attention():
    config: Any = validate_part("llm", {"type": "med", **SIZES, "tokenizer": {"vocab_size": 300}})
    med = config.build(visual_dim=12, texts=tiny_texts).eval()
    text = matches(Images(torch.zeros(0), (), ()), TEXTS).text
    seen = torch.randn(4, 5, 12)
    read = med.look_and_read((seen, None), text)[1].sum()
    written = med.write((seen, None), None, text).sum()
    names = [name for name, _ in med.bert.named_parameters()]
    weights = list(med.bert.parameters())
    gradients = [torch.autograd.grad(total, weights) for total in (read, written)]
    reads, writes = (
        {name for name, gradient in zip(names, each, strict=True) if gradient.any()}
        for each in gradients
    )
    assert {name.split(".")[2] for name in reads - writes} == {"attention", "attention_norm"}
    assert {name.split(".")[2] for name in writes - reads} == {"writing", "writing_norm"}
    shared = {name.split(".")[2] for name in reads & writes if name.startswith("blocks")}
    assert shared == {"cross", "cross_norm", "layers", "layers_norm"}


def test_a_connector_before_a_med_is_refused():
    med: Any = validate_part("llm", {"type": "med", **SIZES, "tokenizer": {"vocab_size": 300}})
    mlp: Any = validate_part("connector", {"type": "mlp"})
    config = ModelConfig(encoder=tiny_encoder_config(), connector=mlp, llm=med)
    assert [why for _, why in config.check()] == [
        "the llm 'med' looks at the encoder's features by itself; leave it out"
    ]


def test_another_family_is_refused(tmp_path: Path):
    published(BlipForConditionalGeneration, tmp_path)
    config: Any = validate_part("text_encoder", {"type": "bert", "model": str(tmp_path)})
    with pytest.raises(PartError, match="is a 'blip' model; this one begins from a bert"):
        config.build(tokenizer_object=tiny_tokenizer())


def test_a_blip_that_reads_and_writes_by_two_berts_is_refused(tmp_path: Path):
    published(BlipForQuestionAnswering, tmp_path)
    config: Any = validate_part("llm", {"type": "med", "model": str(tmp_path)})
    with pytest.raises(PartError, match=r"reads by one BERT and writes by another \(blocks"):
        config.build(visual_dim=24, tokenizer_object=tiny_tokenizer())


def test_a_bert_of_other_norms_is_refused(tmp_path: Path):
    sizes = {k: v for k, v in TEXT.items() if not k.endswith("token_id")}
    BertForMaskedLM(BertConfig(**sizes, layer_norm_eps=1e-5)).save_pretrained(tmp_path)
    config: Any = validate_part("llm", {"type": "med", "model": str(tmp_path)})
    with pytest.raises(PartError, match="adds 1e-05 to a variance; a BERT here adds 1e-12"):
        config.build(visual_dim=24, tokenizer_object=tiny_tokenizer())


@torch.no_grad()
def test_med_begins_as_bert_with_its_head(tmp_path: Path):
    sizes = {k: v for k, v in TEXT.items() if not k.endswith("token_id")} | {"vocab_size": 300}
    torch.manual_seed(0)
    bert = shifted(BertForMaskedLM(BertConfig(**sizes)), 0.1).eval()
    bert.save_pretrained(tmp_path)
    config: Any = validate_part("llm", {"type": "med", "model": str(tmp_path)})
    med = config.build(visual_dim=24, tokenizer_object=tiny_tokenizer()).eval()
    text = matches(Images(torch.zeros(0), (), ()), TEXTS).text
    wanted = bert(text.ids, attention_mask=text.mask.long()).logits
    said = med.says(med.read(text))[:, :, :300]
    assert near(said[text.mask], wanted[text.mask])
    assert torch.equal(
        med.bert.words.weight[300], bert.bert.embeddings.word_embeddings.weight.mean(0)
    )
