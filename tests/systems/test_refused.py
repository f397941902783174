"""Pairs that cannot be are refused by `config check` and by `train`, before any weight is loaded:
the message names the place in the YAML and what would work.

The YAML are the examples, as published: to load any of their parts would take the network, which
tests do not have, and end in another error.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from isthmus.cli import app

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FORMER = "model.connector={type: qformer, dim: 32, layers: 1, heads: 2, hidden: 32"
BART = "{model_type: bart, d_model: 32, max_position_embeddings: 32}"
CASES: dict[str, tuple[str, list[str], str, str]] = {
    "gated cross-attention with an encoder-decoder": (
        "blip2-flan-t5",
        ["model.connector={type: gated_cross_attention}"],
        "model.connector",
        "take `llm: causal`, or a connector that gives visual tokens, like `qformer`",
    ),
    "gated cross-attention, whatever makes its states": (
        "blip2-flan-t5",
        ["model.connector={type: gated_cross_attention, states: {type: resampler, queries: 8}}"],
        "model.connector",
        "take `llm: causal`",
    ),
    "ITC with accumulation by samples": (
        "blip2-opt",
        ["stages.0.batch.micro_samples=8"],
        "stages[0].batch.micro_samples",
        "leave out `micro_samples`",
    ),
    "ITC with accumulation by tokens": (
        "blip2-opt",
        ["stages.0.objective={type: itc}", "stages.0.batch.micro_tokens=800"],
        "stages[0].batch.micro_tokens",
        "leave out `micro_tokens`",
    ),
    "a text branch without a tokenizer": (
        "blip2-opt",
        [f"{FORMER}, text: objective}}"],
        "model.connector.tokenizer",
        "write `tokenizer: bert-base-uncased`",
    ),
    "instructions without a tokenizer": (
        "instructblip",
        [f"{FORMER}, text: instruction}}"],
        "model.connector.tokenizer",
        "write `tokenizer: bert-base-uncased`",
    ),
    "objectives that read, and a Q-Former that does not": (
        "blip2-opt",
        [f"{FORMER}}}"],
        "stages[0].objective",
        "write `text: objective` and a `tokenizer` in model.connector",
    ),
    "objectives of a Q-Former, and another connector": (
        "blip2-opt",
        ["model.connector=mlp"],
        "stages[0].objective",
        "write `model.connector: {type: qformer, text: objective}`",
    ),
    "more queries than a decoder has positions": (
        "llava-1.5",
        [
            f"{FORMER}, queries: 64}}",
            "model.llm.config={model_type: opt, max_position_embeddings: 64}",
            "model.llm.model=null",
        ],
        "model.connector",
        "let qformer give fewer, or take an llm with more (`max_position_embeddings`)",
    ),
    "more queries than an encoder-decoder has positions": (
        "blip2-flan-t5",
        [f"{FORMER}, queries: 32}}", f"model.llm.config={BART}", "model.llm.model=null"],
        "model.connector",
        "an image becomes 32 visual tokens, and the llm has positions for 32",
    ),
    "more queries than a sample may be long": (
        "instructblip",
        ["stages.1.max_length=32"],
        "stages[1].max_length",
        "allow more, or let model.connector give fewer",
    ),
    "prefixes for an LLM that looks back alone": (
        "blip2-flan-t5",
        ["model.llm={type: causal, model: facebook/opt-2.7b}"],
        "stages[0].objective",
        "take an encoder-decoder, or the objective `lm`",
    ),
}
"""Case -> example, what a user sets, the place that is named, and what would work."""


def said(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_by_its_path_with_what_would_work(case: str, tmp_path: Path) -> None:
    example, settings, place, remedy = CASES[case]
    file, out = EXAMPLES / f"{example}.yaml", tmp_path / "run"
    options = [word for setting in settings for word in ("--set", setting)]
    for command in (("config", "check", file), ("train", file, "--out", out)):
        result = said(*command, *options)
        assert result.exit_code == 2, result.output
        (line,) = [each for each in result.stderr.splitlines() if f"{place}: " in each]
        assert remedy in line
    assert not out.exists()


@pytest.mark.parametrize("example", sorted({case[0] for case in CASES.values()}))
def test_the_same_yaml_without_them_is_none_of_it(example: str) -> None:
    assert said("config", "check", EXAMPLES / f"{example}.yaml").exit_code == 0
