"""`prefix_lm`: what joins the prefix is read both ways, and no longer learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from isthmus.core.config import load, validate_part
from isthmus.core.contracts import Pack
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.core.train.config import RunConfig
from isthmus.core.train.run import run
from isthmus.errors import ConfigError
from isthmus.testing import (
    check_objective,
    tiny_encoder_config,
    tiny_llm_config,
    tiny_samples,
    tiny_template,
    tiny_texts,
)
from tests.core.train.listeners import metrics
from tests.core.train.tiny import LLAMA, stage, tiny_run, write_data

T5 = {
    **{"model_type": "t5", "d_model": 32, "d_kv": 8, "d_ff": 24, "num_layers": 2},
    **{"num_heads": 2, "dropout_rate": 0.0},
}
LLMS = {
    "prefix": tiny_llm_config(attention="prefix"),
    "t5": validate_part("llm", {"type": "seq2seq", "config": T5, "tokenizer": {"vocab_size": 300}}),
}


def build(llm: str) -> Any:
    joint: Any = validate_part("connector", {"type": "mlp"})
    config = ModelConfig(encoder=tiny_encoder_config(), connector=joint, llm=LLMS[llm])
    return build_model(config, texts=tiny_texts)


def objective(**fields: Any) -> Any:
    return validate_part("objective", {"type": "prefix_lm", **fields}).build()


@pytest.mark.parametrize("llm", LLMS)
@pytest.mark.parametrize("share", [None, 0.0, 0.6, 0.99])
def test_it_keeps_its_contract(llm: str, share: float | None) -> None:
    check_objective(objective(share=share).config, build(llm))


def learnt(batch: Any) -> list[int]:
    found: list[int] = batch.targets[batch.targets != Pack.IGNORE].tolist()
    return found


@pytest.mark.parametrize("llm", LLMS)
def test_the_share_of_the_first_answer_is_read_and_the_rest_learnt(llm: str) -> None:
    tools = build(llm).tools(tiny_template())
    two = tiny_samples()[1]
    whole = objective(share=0.0).preparer(tools)
    half = objective(share=0.5).preparer(tools)
    all_of_it = whole.collate([whole.prepare(two)])
    batch = half.collate([half.prepare(two)])
    answers = [
        tools.tokenizer.encode(f" {t}", add_special_tokens=False) for t in ("A red dog.", "A cat.")
    ]
    first, second = (len(answer) + 1 for answer in answers)
    assert len(learnt(all_of_it)) == first + second
    assert learnt(batch) == learnt(all_of_it)[first // 2 :]
    if llm == "prefix":
        (before,), (now,) = all_of_it.segments.prefixes, batch.segments.prefixes
        assert now == before + first // 2
        assert torch.equal(batch.ids, all_of_it.ids)
    else:
        source, later = batch.sources.lengths
        assert source == all_of_it.sources.lengths[0] + first // 2
        assert later == all_of_it.sources.lengths[1]
        assert (
            batch.source_ids[source - first // 2 : source].tolist()
            == learnt(all_of_it)[: first // 2]
        )


def test_at_least_one_token_is_learnt_and_shares_follow_from_the_id() -> None:
    tools = build("prefix").tools(tiny_template())
    preparer = objective(share=0.999).preparer(tools)
    one = tiny_samples()[0]
    assert len(learnt(preparer.collate([preparer.prepare(one)]))) == 1
    from dataclasses import replace

    drawn = objective().preparer(tools)
    counts = []
    for number in range(200):
        sample = replace(one, id=str(number))
        counts.append(len(learnt(drawn.collate([drawn.prepare(sample)]))))
        assert counts[-1] == len(learnt(drawn.collate([drawn.prepare(sample)])))
    longest = len(learnt(objective(share=0.0).preparer(tools).prepare(one)))
    assert set(counts) == set(range(1, longest + 1))
    assert abs(sum(counts) / len(counts) - (longest + 1) / 2) < 1


def test_what_a_model_trained_with_prefixes_sees_it_sees_when_it_is_asked(tmp_path: Path) -> None:
    import isthmus

    write_data(tmp_path, 8, text_only=2)
    values = tiny_run(tmp_path, stage(tmp_path, train={"llm": "full"}, objective="prefix_lm"))
    values["model"] = values["model"] | {"llm": LLAMA | {"attention": "prefix"}}
    folder = run(values)
    assert all(line["loss"] > 0 for line in metrics(tmp_path / "run") if "loss" in line)
    model = isthmus.load(folder).model
    assert model.llm.prefix_attention


def test_an_llm_that_looks_back_alone_is_refused_before_weights(tmp_path: Path) -> None:
    write_data(tmp_path, 2)
    values = tiny_run(tmp_path, stage(tmp_path, objective="prefix_lm"))
    with pytest.raises(
        ConfigError, match=r"stages\[0\]\.objective: 'prefix_lm' is for an llm whose"
    ):
        load(RunConfig, values)
