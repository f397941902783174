"""A synthesis from its journal: the same bytes however it was interrupted, split or made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.core.chat import Journal
from isthmus.errors import ConfigError, DataError, InputError, OutOfBudget
from isthmus.synthesize import Shard, derive, synthesize
from isthmus.synthesize.export import export
from isthmus.synthesize.plan import Plan
from isthmus.synthesize.run import merge
from isthmus.synthesize.scenes import open_scenes
from isthmus.synthesize.verify import verify
from tests.synthesize.toys import PLAIN, config, lines, many, reasons, replay, samples

FILES = ("samples.jsonl", "rejected.jsonl", "report.json", "report.html")
GOOD = (
    "Question: Is there a dog?\nAnswer: Yes, there is a dog.\n\nQuestion: And a horse?\nAnswer: No."
)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def test_samples_are_llavas_rows_with_their_kind_and_provenance(tmp_path: Path):
    outcome = synthesize(config(tmp_path))
    found = samples(tmp_path / "out")
    assert [row["kind"] for row in found] == ["conversation", "detail", "reasoning"]
    for row in found:
        speakers = [turn["from"] for turn in row["conversations"]]
        assert speakers == ["human", "gpt"] * (len(speakers) // 2)
        values = [turn["value"] for turn in row["conversations"]]
        assert "<image>" in values[0]
        assert sum(value.count("<image>") for value in values) == 1
        provenance = row["provenance"]
        assert provenance.keys() >= {
            *("scene", "recipe", "prompt", "teacher", "returned", "parameters", "prompt_tokens"),
            *("completion_tokens", "cost", "seed", "key", "reply"),
        }
    assert sum(outcome.tally.kept.values()) == 3


def test_samples_are_read_by_the_source_of_their_format(tmp_path: Path):
    from isthmus.core.config import validate_part

    synthesize(config(tmp_path, many(3)))
    given = {"type": "llava", "file": str(tmp_path / "out/samples.jsonl"), "images": str(tmp_path)}
    source = validate_part("source", given).build()
    assert len(source) == len(samples(tmp_path / "out"))
    assert len(source[0].slots) == 1


def test_making_it_again_gives_the_same_bytes_and_asks_nobody(tmp_path: Path):
    made = config(tmp_path, many(20))
    synthesize(made)
    before = contents(made.out)
    synthesize(made)
    derive(made)
    assert contents(made.out) == before
    with Journal(made.out / "journal.sqlite", read_only=True) as journal:
        assert journal.spend().calls == 60


def test_shards_merged_give_the_bytes_of_the_whole(tmp_path: Path):
    (tmp_path / "w").mkdir()
    whole = config(tmp_path / "w", many(25))
    synthesize(whole)
    parts = config(tmp_path, many(25))
    for number in (3, 1, 2):
        synthesize(parts, shard=Shard(number, 3))
        if number != 3:
            merge(parts.out)
    merge(parts.out)
    assert contents(parts.out)["samples.jsonl"] == contents(whole.out)["samples.jsonl"]
    with Journal(parts.out / "journal.sqlite", read_only=True) as journal:
        assert journal.spend().calls == 75


def test_a_plan_has_the_published_shares(tmp_path: Path):
    weights = {"conversation": 59, "detail": 23, "reasoning": 77}
    recipes = [{"type": name, "weight": weight} for name, weight in weights.items()]
    made = config(tmp_path, many(77), recipes=recipes)
    plan = Plan(made, open_scenes(made.scenes))
    assert plan.quotas == weights
    jobs = [job.id for job in plan.jobs()]
    assert len(jobs) == len(set(jobs)) == 159
    split = [job.id for n in (1, 2, 3) for job in plan.jobs(Shard(n, 3))]
    assert sorted(split) == sorted(jobs)


def test_more_samples_than_scenes_ask_again_with_another_seed(tmp_path: Path):
    made = config(tmp_path, many(4), samples=50)
    plan = Plan(made, open_scenes(made.scenes))
    jobs = list(plan.jobs())
    assert len(jobs) == 50 == sum(plan.quotas.values())
    assert len({job.seed for job in jobs}) == 50
    assert len({job.id for job in jobs}) == 50


def test_replies_are_rejected_with_counted_reasons(tmp_path: Path):
    rows = [PLAIN | {"id": id, "captions": [f"A dog and a cat, {id}."]} for id in "abcdefg"]
    said: dict[str, Any] = {
        "a/conversation": GOOD,
        "b/conversation": "A dog.",
        "c/conversation": {"text": GOOD, "finish": "length"},
        "d/conversation": "Question: What is it?\nAnswer: The caption says a dog.",
        "e/conversation": "Question: What is it?\nAnswer: A zebra and a cat.",
        "f/conversation": "I'm sorry, I cannot do that.",
    }
    recipes = [{"type": "conversation"}]
    made = config(tmp_path, rows, teacher=replay(tmp_path, said), recipes=recipes)
    synthesize(made)
    assert [row["id"] for row in samples(made.out)] == ["a/conversation"]
    assert reasons(made.out) == {
        "b/conversation": "unparsable",
        "c/conversation": "truncated",
        "d/conversation": "mentions_source",
        "e/conversation": "hallucinated",
        "f/conversation": "refusal",
        "g/conversation": "refused",
    }
    report = json.loads((made.out / "report.json").read_text())
    assert report["rejected"] == 6
    assert {r: c["count"] for r, c in report["rejected_by_reason"].items()} == dict.fromkeys(
        reasons(made.out).values(), 1
    )


def test_another_policy_is_applied_to_old_replies_for_nothing(tmp_path: Path):
    said = {"a/detail": "A zebra stands beside a dog."}
    teacher = replay(tmp_path, said)
    made = config(tmp_path, teacher=teacher, recipes=[{"type": "detail"}])
    synthesize(made)
    assert reasons(made.out) == {"a/detail": "hallucinated"}
    kept = config(tmp_path, teacher=teacher, recipes=[{"type": "detail"}],
                  quality={"grounding": "flag"})  # fmt: skip
    synthesize(kept)
    (row,) = samples(kept.out)
    assert row["provenance"]["flags"] == ["hallucinated"]
    with Journal(kept.out / "journal.sqlite", read_only=True) as journal:
        assert journal.spend().calls == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("dog", "emu", 1), "differs in conversations"),
        (lambda text: text.replace('"seed": ', '"seed": 1', 1), r"provenance\.seed"),
        (lambda text: text.split("\n", 1)[1], "differs in id"),
        (lambda text: text + text.split("\n")[0] + "\n", "no reply in the journal"),
        (lambda text: "{\n" + text, "not JSON"),
    ],
)
def test_verify_finds_every_change(tmp_path: Path, change: Any, said: str):
    made = config(tmp_path)
    synthesize(made)
    assert verify(made.out) == 3
    file = made.out / "samples.jsonl"
    file.write_text(change(file.read_text()))
    with pytest.raises(DataError, match=said):
        verify(made.out)


def test_verify_notices_other_scenes_and_other_prompts(tmp_path: Path):
    made = config(tmp_path)
    synthesize(made)
    lines(tmp_path / "scenes.jsonl", [PLAIN | {"captions": ["A cat and a dog."]}])
    with pytest.raises(DataError, match="not what journal, scenes and recipes make"):
        verify(made.out)


def test_prompts_are_replaced_by_a_folder_and_change_the_key(tmp_path: Path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "questions.txt").write_text("What do you see, pray?\n")
    made = config(tmp_path, recipes=[{"type": "detail", "prompts": str(folder)}])
    synthesize(made)
    assert "What do you see, pray?" in samples(made.out)[0]["conversations"][0]["value"]
    (folder / "sistem.txt").write_text("x")
    with pytest.raises(DataError, match=r"Did you mean 'system\.txt'"):
        synthesize(made)


def test_caption_pairs_need_no_teacher(tmp_path: Path):
    rows = [PLAIN, {"id": "b", "captions": ["Two boats."]}, {"id": "c", "instances": []}]
    teacher = replay(tmp_path, {})
    made = config(tmp_path, rows, teacher=teacher, recipes=[{"type": "caption_pairs"}])
    synthesize(made)
    found = samples(made.out)
    assert [row["conversations"][1]["value"] for row in found] == ["A dog and a cat.", "Two boats."]
    assert "teacher" not in found[0]["provenance"]
    assert not reasons(made.out)


def test_pictures_are_checked_where_they_are_at_hand(tmp_path: Path):
    from PIL import Image

    Image.new("RGB", (80, 40)).save(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    rows = [PLAIN | {"width": 40, "height": 80}, PLAIN | {"id": "b", "image": "b.jpg"},
            PLAIN | {"id": "c", "image": "gone.jpg"}]  # fmt: skip
    made = config(tmp_path, rows, recipes=[{"type": "caption_pairs"}])
    scenes = made.scenes.model_copy(update={"images": tmp_path})
    synthesize(made.model_copy(update={"scenes": scenes}))
    assert reasons(made.out) == {"a/caption_pairs": "image", "b/caption_pairs": "image"}
    assert len(samples(made.out)) == 1


def test_the_report_says_which_picture_of_a_sample_is_damaged(tmp_path: Path):
    from PIL import Image

    Image.new("RGB", (80, 40)).save(tmp_path / "a.jpg")
    Image.effect_noise((80, 40), 50).save(tmp_path / "b.jpg")
    (tmp_path / "b.jpg").write_bytes((tmp_path / "b.jpg").read_bytes()[:-600])
    rows = [PLAIN, PLAIN | {"id": "b", "image": "b.jpg"}]
    made = config(tmp_path, rows, recipes=[{"type": "caption_pairs"}])
    scenes = made.scenes.model_copy(update={"images": tmp_path})
    synthesize(made.model_copy(update={"scenes": scenes}))
    assert len(samples(made.out)) == 2
    page = (made.out / "report.html").read_text()
    assert "<p class=quiet>b.jpg: the file is cut short or damaged" in page
    assert page.count("cut short") == page.count("<image ") == 1


def test_a_cap_on_tokens_stops_and_what_is_there_can_be_used(tmp_path: Path):
    made = config(tmp_path, many(5), ask={"max_tokens": 100})
    with pytest.raises(OutOfBudget):
        synthesize(made)
    derive(made)
    assert set(reasons(made.out).values()) <= {"unasked"}


def test_exports_hold_every_sample(tmp_path: Path):
    made = config(tmp_path, many(6))
    synthesize(made)
    count = len(samples(made.out))
    assert export(made.out, "llava", tmp_path / "x.json") == count
    llava = json.loads((tmp_path / "x.json").read_text())
    assert llava[0].keys() == {"id", "image", "conversations"}
    assert export(made.out, "messages", tmp_path / "x.jsonl") == count
    first = json.loads((tmp_path / "x.jsonl").read_text().splitlines()[0])
    kinds = [piece["type"] for piece in first["messages"][0]["content"]]
    assert sorted(kinds) == ["image", "text"]
    assert [message["role"] for message in first["messages"][:2]] == ["user", "assistant"]
    parquet = pytest.importorskip("pyarrow.parquet")
    assert export(made.out, "parquet", tmp_path / "x.parquet") == count
    table = parquet.read_table(tmp_path / "x.parquet").to_pylist()
    assert [row["conversations"] for row in table] == [
        row["conversations"] for row in samples(made.out)
    ]
    with pytest.raises(InputError, match="Did you mean 'parquet'"):
        export(made.out, "parqet", tmp_path / "y")


def test_what_cannot_be_is_said_before_anything_is_asked(tmp_path: Path):
    with pytest.raises(ConfigError, match="listed twice"):
        config(tmp_path, recipes=[{"type": "detail"}, {"type": "detail"}])
    with pytest.raises(InputError, match="1/4"):
        Shard.parse("5/4")
    with pytest.raises(InputError, match="no synthesis is in it"):
        verify(tmp_path)
    assert not (tmp_path / "out").exists()
