"""Flamingo, SimVLM and PaLI in miniature: what their data says is true; each trains a few steps,
as its YAML says, and answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from isthmus.core import checkpoint
from isthmus.core.assistant import Assistant, assistant_of
from isthmus.core.config import load
from isthmus.core.model.build import build_model
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.core.train.config import RunConfig
from isthmus.core.train.run import run
from isthmus.evaluate.config import EvaluationConfig
from isthmus.evaluate.evaluation import Evaluation
from tests.demo_scripts import DEMO, imported


@pytest.fixture(scope="module")
def demo() -> Iterator[SimpleNamespace]:
    """The demo's modules, whose data is small here."""
    with imported("languages", "flamingo", "simvlm", "pali") as modules:
        modules.flamingo.SCENES = 40
        modules.flamingo.SEQUENCES = 30
        modules.flamingo.QUESTIONS = 4
        modules.simvlm.SCENES = 40
        modules.simvlm.QUESTIONS = 16
        modules.pali.SCENES = 30
        modules.pali.QUESTIONS = 10
        yield modules


def read(file: Path) -> list[dict[str, Any]]:
    text = file.read_text()
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    records: list[dict[str, Any]] = json.loads(text)
    return records


def said(record: dict[str, Any]) -> list[str]:
    return [turn["value"] for turn in record["conversations"][1::2]]


def train(name: str, data: Path, out: Path, **places: Any) -> Path:
    """Two steps a stage."""
    config = load(RunConfig, DEMO / f"{name}.yaml")
    for at, stage in enumerate(config.stages):
        places |= {f"stages.{at}.steps": 2, f"stages.{at}.batch": {"samples": 4}}
        for number, source in enumerate(stage.data):
            place = f"stages.{at}.data.{number}"
            places[f"{place}.file"] = str(data / source.file.name)  # type: ignore[attr-defined]
            if source.images is not None:  # type: ignore[attr-defined]
                places[f"{place}.images"] = str(data / "images")
    places["out"] = str(out)
    return run(DEMO / f"{name}.yaml", overrides=[f"{k}={json.dumps(v)}" for k, v in places.items()])


def test_sequences_keep_to_one_kind_and_tell_the_truth(demo: Any, tmp_path: Path) -> None:
    demo.flamingo.write(tmp_path, 0)
    true = {r["image"]: said(r)[0].split() for r in read(tmp_path / "captions.json")}
    lengths = set()
    for record in read(tmp_path / "interleaved.json"):
        told = [true[image] for image in record["image"]]
        assert said(record) in [list(column) for column in zip(*told, strict=True)]
        assert len(set(record["image"])) == len(record["image"])
        lengths.add(len(told))
    assert lengths <= set(range(1, 10))
    assert len(lengths) > 5
    alone = [said(record) for record in read(tmp_path / "words.json")]
    assert alone == [said(record) for record in read(tmp_path / "interleaved.json")]
    for at, kind in enumerate(("digit", "colour", "place")):
        for record in read(tmp_path / f"examples-{kind}.json"):
            assert said(record) == [true[record["image"][0]][at]]
        assert (
            not {row["image"] for row in read(tmp_path / f"questions-{kind}.jsonl")} & true.keys()
        )


@pytest.mark.slow
def test_flamingo_trains_its_connector_and_is_asked_behind_examples(
    demo: Any, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    demo.flamingo.write(data, 0)
    folder = train("flamingo", data, tmp_path / "run")
    parts = checkpoint.load(folder).model().parts()
    before = checkpoint.load(folder.parent / "02-read-000002").model().parts()
    same = {
        name
        for name, part in parts.items()
        if all(map(torch.equal, part.state_dict().values(), before[name].state_dict().values()))
    }
    assert same == {"encoder", "llm", "text_encoder"}
    places: dict[str, Any] = {"models.flamingo": tmp_path / "run", "out": tmp_path / "asked"}
    evaluation = load(EvaluationConfig, DEMO / "flamingo-evaluate.yaml")
    for name in evaluation.benchmarks:
        kind = name.split("-")[0]
        places[f"benchmarks.{name}.data"] = data / f"questions-{kind}.jsonl"
        places[f"benchmarks.{name}.images"] = data / "images"
        if name in evaluation.shots:
            places[f"shots.{name}.data.file"] = data / f"examples-{kind}.json"
            places[f"shots.{name}.data.images"] = data / "images"
    settings = [f"{place}={value}" for place, value in places.items()]
    asked = Evaluation(load(EvaluationConfig, DEMO / "flamingo-evaluate.yaml", settings))
    assert {
        (task.exam.name, len(question.conversation().pictures))
        for task in asked.tasks
        for question in task.questions
    } == {(f"{k}-{n}", n + 1) for k in ("digit", "colour", "place") for n in (0, 4, 8)}
    assert sum(count for count, _ in asked.answer("cpu")) == 2 * 9 * 4


def test_with_gates_shut_text_is_that_of_the_bare_llm() -> None:
    """Of the whole model, as an assistant answers with it: bit for bit."""
    config = load(RunConfig, DEMO / "flamingo.yaml")
    words = ["one two three four five", "what is it? nothing at all"]
    model = build_model(config.model, texts=lambda: iter(words)).eval()
    bare = VisionLanguageModel(
        llm=build_model(config.model, texts=lambda: iter(words)).llm  # drawn from the same seed
    ).eval()
    for layer in bare.llm.decoder_layers:
        layer._forward_pre_hooks.clear()
    template = config.template.build()
    asked = [[{"role": "user", "content": text}] for text in words]
    given: dict[str, Any] = {"max_new_tokens": 12, "temperature": 1.0, "seed": 3}
    wanted = Assistant(bare, template).answer(asked, **given)
    assert Assistant(model, template).answer(asked, **given) == wanted
    ids = torch.arange(3, 15)[None]
    with torch.no_grad():
        embeds, mask = model.llm.embed(ids), torch.ones(1, 12, dtype=torch.bool)
        alone = bare.llm.head(bare.llm.decode(embeds, mask)[0])
        assert torch.equal(model.llm.head(model.llm.decode(embeds, mask)[0]), alone)


@pytest.mark.slow
def test_simvlm_trains_all_of_it_on_captions_and_on_text_alone(demo: Any, tmp_path: Path) -> None:
    demo.simvlm.write(tmp_path, 0)
    texts, captions = read(tmp_path / "texts.json"), read(tmp_path / "captions.json")
    assert len(texts) == -(-3 * demo.simvlm.SCENES // 8)
    assert not {r["id"] for r in captions} & {r["id"] for r in texts}
    assert {r["conversations"][0]["value"] for r in captions} == {"<image>"}
    things = {r["image"]: said(r)[0] for r in captions if r["id"].endswith("_0")}
    for record in read(tmp_path / "questions.json"):
        for question, answer in zip(record["conversations"][::2], said(record), strict=True):
            if "How many digits are there?" in question["value"] and record["image"] in things:
                assert int(answer) == things[record["image"]].count(",") + 1
    folder = train("simvlm", tmp_path, tmp_path / "run")
    answer = assistant_of(checkpoint.load(folder), "cpu").reply(
        [{"role": "user", "content": "What is in the picture?"}], max_new_tokens=4
    )
    assert isinstance(answer, str)


@pytest.mark.slow
def test_pali_asks_the_same_in_every_language(demo: Any, tmp_path: Path) -> None:
    demo.pali.write(tmp_path, 0)
    languages = demo.languages.LANGUAGES
    english = languages["en"]
    rows = read(tmp_path / "test_questions.jsonl")
    kinds = {}
    for first, second, third in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
        said = []
        for row, code in zip((first, second, third), ("en", "de", "es"), strict=True):
            assert row["category"] == code
            assert row["text"].startswith(f"Answer in {code}: ")
            assert row["image"] == first["image"]
            said.append(english_of(row["answer"], languages[code], english))
        assert len(set(said)) == 1
        kinds[first["text"].split()[3]] = said[0]
    assert {"Which", "What", "How"} <= kinds.keys()
    captions = read(tmp_path / "captions.json")
    by_scene: dict[str, set[tuple[str, ...]]] = {}
    for record in captions:
        code = record["id"].rpartition("_")[2]
        assert record["conversations"][0]["value"].endswith(f"alt_text in {code}:")
        things = record["conversations"][1]["value"].split(", ")
        told = sorted(
            " ".join(sorted(english_of(word, languages[code], english) for word in thing.split()))
            for thing in things
        )
        by_scene.setdefault(record["image"], set()).add(tuple(told))
    assert {len(told) for told in by_scene.values()} == {1}
    folder = train("pali", tmp_path, tmp_path / "run")
    model = checkpoint.load(folder).model()
    assert model.llm.config.owner.name == "seq2seq"


def english_of(word: str, says: Any, english: Any) -> str:
    """What a word of one language is in English; digits are what they are."""
    words = dict(zip(says.places, english.places, strict=True))
    words |= {colour: name for name, colour in says.colours.items()}
    return words.get(word, word)
