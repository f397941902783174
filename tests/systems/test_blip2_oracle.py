"""BLIP-2 and InstructBLIP out of folders as they are published, beside transformers' own models.

Every part is built by its YAML (`model: FOLDER`), pictures and conversations go through transform,
template and preparer, and logits, greedy answers and scores are compared; transformers' models get
what its processors make of the same pictures and words.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import processors
from torch import Tensor
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2ForImageTextRetrieval,
    Blip2Processor,
    BlipImageProcessorPil,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipProcessor,
)

from isthmus.core.config import create, load
from isthmus.core.contracts import Images, ImageSlot, Sample, Turn
from isthmus.core.data.matches import SIMILARITIES, MatchPreparer, shared
from isthmus.core.data.pack import encode_prompt
from isthmus.core.data.preparers import next_token_preparer
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.core.model.generate import Prompt, Stops, generate
from isthmus.core.model.match_reader import picture
from isthmus.core.model.placeholders import Placeholders
from isthmus.core.model.settings import Settings
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.errors import InputError, PartError
from isthmus.testing import tiny_pictures, tiny_texts, tiny_tokenizer
from tests.oracles import VISION, alike, shifted

BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 56,
    "vocab_size": 310,
    "max_position_embeddings": 40,
}
OPT = {
    "model_type": "opt",
    "hidden_size": 32,
    "ffn_dim": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 310,
    "max_position_embeddings": 128,
    "word_embed_proj_dim": 32,
    "dropout": 0.0,
}
T5 = {
    "model_type": "t5",
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "vocab_size": 310,
    "dropout_rate": 0.0,
    "decoder_start_token_id": 0,
}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 310,
}
QUERIES, IMAGE = 5, 300
"""How many tokens a picture takes, and the id that transformers' processors give it."""
SYSTEMS = {
    "blip2-opt": (Blip2ForConditionalGeneration, Blip2Config, OPT, "causal"),
    "blip2-t5": (Blip2ForConditionalGeneration, Blip2Config, T5, "seq2seq"),
    "instructblip": (InstructBlipForConditionalGeneration, InstructBlipConfig, LLAMA, "causal"),
}
ASKED = ("What is in the picture?", "A cat or a dog, and a house?", "What is it?")
ANSWERS = ("A red dog.", "A green cat, and nothing else.", "It is a blue boat.")
TEMPLATE = {"before": "Question: ", "after": " Answer:", "images_before_start": True}
System = tuple[VisionLanguageModel, Any, Any]
"""Ours, transformers' model, and its processor."""


def ending_tokenizer() -> Any:
    """As T5's: a text begins with nothing and ends with `</s>`."""
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 2)]
    )
    return tokenizer


@pytest.fixture(scope="module", params=SYSTEMS)
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> System:
    model_class, config_class, text, kind = SYSTEMS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    whole = {"vision_config": VISION, "qformer_config": BERT, "text_config": text}
    config = config_class(**whole, num_query_tokens=QUERIES, image_token_index=IMAGE)
    theirs = shifted(model_class(config), 0.2).eval()
    tokenizer = tiny_tokenizer() if kind == "causal" else ending_tokenizer()
    frame = BlipImageProcessorPil(size={"height": 32, "width": 32})
    theirs.save_pretrained(folder, max_shard_size="100KB")
    frame.save_pretrained(folder)
    theirs.language_model.save_pretrained(folder / "llm")
    tokenizer.save_pretrained(folder / "llm")
    values: dict[str, Any] = {
        "encoder": {"type": "blip2", "model": str(folder)},
        "connector": {"type": "qformer", "model": str(folder), "queries": QUERIES},
        "llm": {"type": kind, "model": str(folder / "llm")},
    }
    if request.param == "instructblip":
        values["connector"]["text"] = "instruction"
        tiny_tokenizer().save_pretrained(folder / "qformer_tokenizer")
        processor: Any = InstructBlipProcessor(
            frame, tokenizer, tiny_tokenizer(), num_query_tokens=QUERIES
        )
    else:
        processor = Blip2Processor(frame, tokenizer, num_query_tokens=QUERIES)
    assert processor.tokenizer.convert_tokens_to_ids("<image>") == IMAGE
    return build_model(load(ModelConfig, values)).eval(), theirs, processor


def sample(number: int, answered: bool) -> Sample:
    """A question about a picture, as LLaVA's data have it, and its answer."""
    turns = [Turn("user", (ImageSlot(0), f"\n{ASKED[number]}"))]
    if answered:
        turns.append(Turn("assistant", (ANSWERS[number],)))
    return Sample(str(number), tuple(turns), (tiny_pictures()[number],), f"record {number}")


def tools(ours: VisionLanguageModel) -> Any:
    return ours.tools(create("template", "bare", **TEMPLATE), None, False)


def theirs_of(processor: Any, number: int, words: str) -> dict[str, Tensor]:
    """What transformers' processor makes of the question and what follows it. InstructBLIP's
    Q-Former reads the bare question."""
    text = f"Question: {ASKED[number]} Answer:{words}"
    given = dict(processor(tiny_pictures()[number], text, return_tensors="pt"))
    if "qformer_input_ids" in given:
        asked = processor.qformer_tokenizer(ASKED[number], return_tensors="pt")
        given["qformer_input_ids"] = asked["input_ids"]
        given["qformer_attention_mask"] = asked["attention_mask"]
    return given


@torch.no_grad()
def test_features_are_those_of_transformers(system: System) -> None:
    ours, theirs, processor = system
    seen = processor.image_processor(tiny_pictures(), return_tensors="pt")["pixel_values"]
    wanted = theirs.vision_model(seen).last_hidden_state
    images = Images.of(tiny_pictures(), ours.encoder.transform)
    assert alike(ours.encoder(images).values, wanted.flatten(0, 1))


@torch.no_grad()
def test_logits_of_a_pack_are_those_of_transformers_one_by_one(system: System) -> None:
    ours, theirs, processor = system
    preparer = next_token_preparer(tools(ours))
    batch = preparer.collate([preparer.prepare(sample(i, answered=True)) for i in range(3)])
    got = ours.llm.head(ours.hidden(batch))
    rows = zip(got.split(batch.segments.lengths), ANSWERS, strict=True)
    for number, (row, answer) in enumerate(rows):
        if theirs.config.text_config.model_type == "t5":
            said = processor.tokenizer(f" {answer}", return_tensors="pt")["input_ids"]
            decoder = torch.cat([torch.zeros(1, 1, dtype=torch.long), said[:, :-1]], dim=1)
            given = theirs_of(processor, number, "") | {"decoder_input_ids": decoder}
        else:
            given = theirs_of(processor, number, f" {answer}</s>")
        wanted = theirs(**given).logits[0]
        assert alike(row, wanted[: len(row)])
        assert len(row) >= len(wanted) - 1  # what follows on the end, nobody learns


def test_greedy_answers_are_those_of_transformers(system: System) -> None:
    ours, theirs, processor = system
    prompts = []
    for number in range(3):
        asked = encode_prompt(sample(number, answered=False), tools(ours))
        prompts.append(
            Prompt(asked.ids, asked.visual, asked.images, number, asked.stands, asked.texts)
        )
    answers = generate(ours, prompts, Settings(max_new_tokens=10), Stops())
    for number, answer in enumerate(answers):
        wanted = theirs.generate(
            **theirs_of(processor, number, ""),
            max_new_tokens=10,
            do_sample=False,
            eos_token_id=None,
        )
        assert answer.ids == tuple(wanted[0, -10:].tolist())
    assert len({answer.ids for answer in answers}) > 1


@pytest.fixture(scope="module")
def retrieval(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("retrieval")
    torch.manual_seed(0)
    reads = BERT | {"use_qformer_text_input": True}
    whole = {"vision_config": VISION, "qformer_config": reads, "text_config": OPT}
    config = Blip2Config(**whole, num_query_tokens=QUERIES, image_text_hidden_size=12)
    theirs = shifted(Blip2ForImageTextRetrieval(config), 0.2).eval()
    theirs.save_pretrained(folder, max_shard_size="100KB")
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder, theirs


@torch.no_grad()
def test_scores_of_both_heads_are_those_of_transformers(retrieval) -> None:
    folder, theirs = retrieval
    former = {"type": "qformer", "model": str(folder), "queries": QUERIES, "text": "objective"}
    values = {"encoder": {"type": "blip2", "model": str(folder)}, "connector": former}
    ours = build_model(load(ModelConfig, values)).eval()
    preparer = MatchPreparer(ours.tools(None, None, False), "connector")
    batch = preparer.collate([preparer.prepare(sample(i, answered=True)) for i in range(3)])
    processor = BlipImageProcessorPil.from_pretrained(folder)
    seen = processor(tiny_pictures()[:3], return_tensors="pt")["pixel_values"]
    text = batch.text.ids, batch.text.mask.long()

    heads: dict[str, Any] = {}
    for name, fields in (("itc", {"dim": 12}), ("itm", {})):
        heads[name] = create("objective", name, model=str(folder), **fields)
        heads[name].join(ours)
        heads[name].eval()
    opened = shared(batch)
    heads["itc"](ours, opened)
    by_image, _ = opened.left(SIMILARITIES)
    assert alike(by_image / heads["itc"].scale(), theirs(seen, *text).logits_per_image)
    judged = heads["itm"].logits(ours, picture(ours, batch), batch.text)
    wanted = theirs(seen, *text, use_image_text_matching_head=True).logits_per_image
    assert alike(judged, wanted)


def test_heads_that_are_not_there_or_do_not_fit_are_refused(retrieval, system: System) -> None:
    folder, _ = retrieval
    other = Path(system[0].encoder.config.model)
    former = {"type": "qformer", "queries": QUERIES, "text": "objective"}
    sizes = {"dim": 32, "layers": 1, "heads": 4, "hidden": 48, "tokenizer": {"vocab_size": 300}}
    values = {"encoder": {"type": "blip2", "model": str(folder)}, "connector": former | sizes}
    ours = build_model(load(ModelConfig, values), texts=tiny_texts)
    with pytest.raises(PartError, match=r"objective itm: model: .* has no itm_head; take one"):
        create("objective", "itm", model=str(other)).join(ours)
    with pytest.raises(PartError, match=r"vision_projection\.weight of .* is \(12, 32\), not \(7"):
        create("objective", "itc", model=str(folder), dim=7).join(ours)


def test_heads_are_not_read_again_where_a_checkpoint_has_what_became_of_them(retrieval) -> None:
    folder, _ = retrieval
    former = {"type": "qformer", "queries": QUERIES, "text": "objective"}
    sizes = {"dim": 32, "layers": 1, "heads": 4, "hidden": 48, "tokenizer": {"vocab_size": 300}}
    values = {"encoder": {"type": "blip2", "model": str(folder)}, "connector": former | sizes}
    ours = build_model(load(ModelConfig, values), texts=tiny_texts)
    gone = str(folder / "gone")
    for name, fields in (("itc", {"dim": 12}), ("itm", {})):
        objective: Any = create("objective", name, model=gone, **fields)
        with pytest.raises(InputError, match="there is no folder"):
            objective.join(ours)
        with Placeholders():
            objective.join(ours)
        assert sum(p.numel() for p in objective.parameters()) > 0
