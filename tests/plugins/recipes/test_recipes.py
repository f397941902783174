"""The built-in recipes keep the contract, and their words are files that may be replaced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isthmus.core.config import create, validate_part
from isthmus.core.scene import FORMAT
from isthmus.errors import DataError, Rejected
from isthmus.registry import get_registry
from isthmus.testing import check_recipe
from tests.synthesize.toys import scene

TALK = "Question: Is there a dog?\nAnswer: Yes.\n\nQuestion: And a cat?\nAnswer: No."
ONE = "Question: Why is the dog calm?\nAnswer: It sits, and nobody is near."
REPLIES = {
    "conversation": [TALK, ONE],
    "detail": ["The picture shows a dog.", "Answer: The picture shows a dog."],
    "reasoning": [ONE],
    "caption_pairs": [""],
}


@pytest.mark.parametrize("name", REPLIES)
def test_recipe_conforms(name: str):
    check_recipe(validate_part("recipe", {"type": name}), REPLIES[name])


def test_a_balanced_recipe_conforms():
    given = {"type": "caption_pairs", "balance": {"least": 1, "most": 1}}
    check_recipe(validate_part("recipe", given), [""])


def test_every_built_in_recipe_is_tried():
    assert {e.name for e in get_registry().entries() if e.kind == "recipe" and e.builtin} == set(
        REPLIES
    )


@pytest.mark.parametrize("name", ["conversation", "detail", "reasoning"])
def test_own_examples_name_only_what_their_scenes_have(name: str):
    from isthmus.core.contracts import Exchange, Instance, Scene
    from isthmus.synthesize.config import QualityConfig
    from isthmus.synthesize.quality import Grounding, check_wording

    recipe, grounding = create("recipe", name), Grounding()
    for row, _ in recipe.files.rows("examples.jsonl"):
        boxes = tuple(Instance(i["category"], tuple(i["bbox"])) for i in row["instances"])
        there = Scene("x", "", tuple(row["captions"]), boxes)
        said = [Exchange(turn["question"], turn["answer"]) for turn in row["turns"]]
        check_wording(said, QualityConfig(), str(row))
        assert grounding.hallucinated(there, said) == []
        assert grounding.miscounted(there, said) == []


def test_a_structured_teacher_gets_a_schema_and_others_are_told_the_form():
    for name, told in (("conversation", True), ("reasoning", True), ("detail", False)):
        recipe = create("recipe", name)
        words = recipe.prompt(scene(["A dog."], dog=1), 0, structured=False)
        schema = recipe.prompt(scene(["A dog."], dog=1), 0, structured=True)
        assert (FORMAT in words.turns[0].text) == told
        assert FORMAT not in schema.turns[0].text
        assert (schema.json_schema is not None) == told
        for turn in schema.turns if told else ():
            if turn.role == "assistant":
                assert json.loads(turn.text)["turns"]


def test_questions_of_a_description_vary_with_the_seed():
    recipe = create("recipe", "detail")
    asked = {recipe.read("A dog.", scene(["A dog."]), seed)[0].question for seed in range(200)}
    assert len(asked) == len(recipe.files.lines("questions.txt")) >= 12


def test_too_many_questions_are_rejected():
    with pytest.raises(Rejected, match="at most 1"):
        create("recipe", "conversation", most=1).read(TALK, scene(["A dog."]), 0)
    with pytest.raises(Rejected, match="at most 1"):
        create("recipe", "reasoning").read(TALK, scene(["A dog."]), 0)


def test_a_folder_of_prompts_replaces_files_and_changes_the_fingerprint(tmp_path: Path):
    (tmp_path / "system.txt").write_text("Be brief.")
    mine = create("recipe", "detail", prompts=tmp_path)
    assert mine.prompt(scene(["A dog."]), 0, structured=False).turns[0].text == "Be brief."
    assert mine.fingerprint != create("recipe", "detail").fingerprint
    (tmp_path / "examples.jsonl").write_text('{"captions": []}\n')
    with pytest.raises(DataError, match="line 1: an example is"):
        create("recipe", "detail", prompts=tmp_path).prompt(scene(), 0, structured=False)
    with pytest.raises(DataError, match="no such folder"):
        _ = create("recipe", "detail", prompts=tmp_path / "gone").fingerprint
