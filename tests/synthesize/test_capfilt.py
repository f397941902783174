"""CapFilt: who wrote what is kept, who filtered it, and by which score."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from isthmus.core import checkpoint
from isthmus.core.assistant import load as load_assistant
from isthmus.core.config import validate_part
from isthmus.core.contracts import ConnectorText, Images
from isthmus.synthesize.capfilt import CapFiltConfig, capfilt
from isthmus.synthesize.capfilt.filter import TrainedFilter
from tests.synthesize.capfilt_toys import config, rejected, save_blip
from tests.synthesize.toys import samples


def test_every_text_is_kept_by_its_score_or_rejected_with_a_reason(at_once: CapFiltConfig):
    kept, left = samples(at_once.out), rejected(at_once.out)
    ids = Counter(each["id"] for each in (*kept, *left))
    assert set(ids) == {f"r{n:02}/{kind}" for n in range(11) for kind in ("web", "synthetic")}
    assert set(ids.values()) == {1}
    assert {each["kind"] for each in kept} == {"web", "synthetic"}
    assert all(each["provenance"]["score"] >= 0.5 for each in kept)
    mismatched = [each["score"] for each in left if each["reason"] == "mismatch"]
    assert max(mismatched) < 0.5
    report = json.loads((at_once.out / "report.json").read_text())
    assert sum(report["kept"].values()) == len(kept)
    assert sum(sum(each.values()) for each in report["rejected"].values()) == len(left)
    assert sum(report["samples_with"].values()) == report["samples"] == 11


def test_provenance_says_who_wrote_and_who_filtered(at_once: CapFiltConfig):
    manifest = next((at_once.captioner.model / "checkpoints").glob("*/manifest.json"))
    for each in samples(at_once.out):
        said = each["provenance"]
        assert said["filter"]["model"] == "filter/01-represent-000001"
        if each["kind"] == "synthetic":
            assert said["captioner"]["sha256"] == hashlib.sha256(manifest.read_bytes()).hexdigest()
            assert said["captioner"]["sampling"] == {
                "temperature": 1.0,
                "top_p": 0.9,
                "max_new_tokens": 24,
            }
            assert isinstance(said["seed"], int)
        else:
            assert "captioner" not in said


def test_samples_are_read_by_the_source_of_their_format(at_once: CapFiltConfig):
    file, images = str(at_once.out / "samples.jsonl"), str(at_once.images)
    given = {"type": "llava", "file": file, "images": images}
    source: Any = validate_part("source", given).build()
    web = next(each for each in samples(at_once.out) if each["kind"] == "web")
    found = next(sample for sample in source.stream() if sample.id == web["id"])
    assert found.turns[-1].text == web["conversations"][1]["value"]
    assert found.images[0].is_file()


def test_one_blip_is_captioner_and_filter(models: Path, tmp_path: Path):
    blip = {"model": str(save_blip(tmp_path / "blip"))}
    made = config(tmp_path, models, captioner=blip | {"max_new_tokens": 8}, filter=blip)
    found = capfilt(made).summary
    assert found["captioner"]["sha256"] == found["filter"]["sha256"]
    assert sum(found["scores"]["web"]["histogram"]) == 11


def test_captions_are_those_of_the_captioner_alone(at_once: CapFiltConfig):
    assistant = load_assistant(at_once.captioner.model)
    for each in samples(at_once.out):
        if each["kind"] == "synthetic":
            piece = {"type": "image", "image": str(at_once.images / each["image"])}
            words = {"type": "text", "text": "What is in the picture?"}
            said = assistant.answer(
                [[{"role": "user", "content": [piece, words]}]],
                numbers=[each["provenance"]["seed"]],
                max_new_tokens=24,
                temperature=1.0,
                top_p=0.9,
            )
            assert said == [each["conversations"][1]["value"]]


def test_filter_gives_the_probability_of_its_head(at_once: CapFiltConfig):
    trained = TrainedFilter(checkpoint.load(at_once.filter.model)).load("cpu")
    picture = Image.open(at_once.images / "3.png").convert("RGB")
    (found,) = trained.scores([(picture, "A red boat.")])
    model: Any = trained.model
    tokenizer, itm = model.connector.tokenizer, trained.objective.each[1]
    ids = tokenizer("A red boat.", add_special_tokens=False)["input_ids"]
    text = ConnectorText.of([[tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]])
    with torch.no_grad():
        seen = model.encoder(Images.of([picture], model.encoder.transform)).values[None]
        votes = itm.head(model.connector.qformer.look_and_read((seen, None), text)[0])
    assert found == pytest.approx(float(votes.mean(dim=1).softmax(dim=1)[0, 1]), abs=1e-4)
