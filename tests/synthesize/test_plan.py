"""Which scenes a recipe is asked about, where it chooses them itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import ConfigError
from isthmus.synthesize import Shard, synthesize
from isthmus.synthesize.plan import Plan
from isthmus.synthesize.scenes import open_scenes
from isthmus.synthesize.verify import verify
from tests.synthesize.toys import config, samples

ROWS = [
    *({"id": f"dog{n:02}", "captions": [f"A dog near house {n}."]} for n in range(30)),
    *({"id": f"cat{n}", "captions": ["A cat."]} for n in range(3)),
    {"id": "emu", "captions": ["An emu."]},
]


def balanced(folder: Path, **settings: Any) -> Any:
    recipe = {"type": "caption_pairs", "balance": {"least": 3, "most": 10}}
    return config(folder, ROWS, recipes=[recipe], **settings)


def test_a_balanced_recipe_takes_rare_concepts_whole_and_thins_common_ones(tmp_path: Path):
    made = balanced(tmp_path, quality={"near_duplicates": None})
    synthesize(made)
    found = [row["id"].split("/")[0] for row in samples(made.out)]
    assert [id for id in found if id.startswith("cat")] == ["cat0", "cat1", "cat2"]
    # `dog` has ten, and `house` ten: their union.
    assert 10 <= sum(id.startswith("dog") for id in found) <= 20
    assert "emu" not in found
    assert verify(made.out) == len(found)


def test_the_other_recipes_have_all_scenes(tmp_path: Path):
    recipes = [{"type": "caption_pairs", "balance": {"most": 10}}, {"type": "detail"}]
    made = config(tmp_path, ROWS, recipes=recipes)
    plan = Plan(made, open_scenes(made.scenes))
    assert plan.quotas["detail"] == len(ROWS)
    assert plan.quotas["caption_pairs"] == len(plan.pools["caption_pairs"]) < len(ROWS)


def test_shards_and_more_samples_keep_to_the_chosen(tmp_path: Path):
    made = balanced(tmp_path, samples=70)
    plan = Plan(made, open_scenes(made.scenes))
    jobs = [job.id for job in plan.jobs()]
    assert len(jobs) == len(set(jobs)) == 70
    chosen = {ROWS[number]["id"] for number in plan.pools["caption_pairs"]}
    assert {id.split("/")[0] for id in jobs} == chosen
    split = [job.id for n in (1, 2, 3) for job in plan.jobs(Shard(n, 3))]
    assert sorted(split) == sorted(jobs)


def test_where_nothing_is_chosen_nothing_is_made(tmp_path: Path):
    recipe = {"type": "caption_pairs", "balance": {"least": 50}}
    made = config(tmp_path, ROWS, recipes=[recipe])
    assert not list(Plan(made, open_scenes(made.scenes)).jobs())


def test_a_balance_that_cannot_be_is_refused(tmp_path: Path):
    recipe = {"type": "caption_pairs", "balance": {"least": 9, "most": 3}}
    with pytest.raises(ConfigError, match=r"balance\.most: must not be less than `least`, 9"):
        config(tmp_path, ROWS, recipes=[recipe])


def test_replies_are_counted_and_not_samples(tmp_path: Path):
    """Else the time and money that are left would be reckoned for what nobody is asked."""
    recipes = [{"type": "caption_pairs", "weight": 5}, {"type": "detail", "weight": 2}]
    made = config(tmp_path, ROWS, recipes=recipes, samples=70)
    told = []
    synthesize(made, watch=told.append)
    assert (told[-1].total, told[-1].done) == (20, 20)
