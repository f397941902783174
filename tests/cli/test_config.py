"""`isthmus config`: a YAML file is checked before anything is loaded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner, Result

from isthmus.cli import app

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

RUN = """
model:
  encoder: {type: clip, model: openai/clip-vit-large-patch14-336}
  connector: {type: mlp}
  llm: {type: causal, model: lmsys/vicuna-7b-v1.5}
template: vicuna_v1
stages:
  - name: align
    train: {connector: full}
    data: [{type: llava, file: a.json, images: photos}]
    batch: {samples: 256}
    epochs: 1
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["config", *map(str, arguments)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(RUN)
    return path


def test_good_file_is_summed_up(file: Path) -> None:
    result = run("check", file)
    assert result.exit_code == 0, result.stderr
    assert f"{file}: no problems" in result.stdout
    assert "connector: full" in result.stdout
    assert "samples: 256" in result.stdout
    assert "lmsys/vicuna-7b-v1.5" in result.stdout


def test_every_problem_is_printed_with_its_line_and_nothing_is_written(
    file: Path, tmp_path: Path
) -> None:
    file.write_text(
        RUN.replace("{connector: full}", "{conector: full}")
        .replace("epochs: 1", "epochs: many")
        .replace("template:", "tmplate:")
    )
    result = run("check", file)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    shown = [line.split(":")[:2] for line in result.stderr.splitlines()[1:]]
    assert shown == [
        ["  line 6", " tmplate"],
        ["  line 9", " stages[0].train.conector"],
        ["  line 12", " stages[0].epochs"],
    ]
    assert "Did you mean 'connector'?" in result.stderr
    assert list(tmp_path.iterdir()) == [file]


def test_every_name_that_stands_for_nothing_is_told_at_its_place(file: Path) -> None:
    stages = RUN.partition("stages:\n")[2]
    again = stages.replace("{connector: full}", "{conector: full, lm: full}\n    reset: [llm, eye]")
    file.write_text(RUN.replace("train: {connector", "train: {encodr") + again.lstrip("\n"))
    shown = run("check", file).stderr.splitlines()
    assert [line.split(":")[1].strip() for line in shown[1:]] == [
        "stages[0].train.encodr",
        "stages[1].name",
        "stages[1].train.conector",
        "stages[1].train.lm",
        "stages[1].reset[1]",
    ]


TINY = "hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2"


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (
            "llm: {type: causal, config: {model_type: llama, hidden_siz: 16, num_layer: 2}}",
            [
                "model.llm.config.hidden_siz: LlamaConfig has no key 'hidden_siz'. "
                "Did you mean 'hidden_size'?",
                "model.llm.config.num_layer: LlamaConfig has no key 'num_layer'. Did you ",
            ],
        ),
        (
            "llm: {type: causal, config: {model_type: lama}}",
            ["model.llm.config.model_type: 'lama' is no causal family of transformers; "],
        ),
        (
            "llm: {type: causal, config: {hidden_size: 16}}",
            ["model.llm.config.model_type: None is no causal family of transformers; write one, "],
        ),
        (
            "llm: {type: causal, config: {model_type: llama, hidden_size: wide}}",
            ["model.llm.config: Validation error for field 'hidden_size': TypeError: "],
        ),
        (
            "llm: {type: causal}",
            ["model.llm: give either `model`, a hub id or folder, or `config`"],
        ),
        (
            f"encoder: {{type: siglip, config: {{{TINY}, patchsize: 4}}}}",
            ["model.encoder.config.patchsize: SiglipVisionConfig has no key 'patchsize'. Did you "],
        ),
        (
            "encoder: {type: timm, model: resnet11t}",
            ["model.encoder.model: timm has no model 'resnet11t'. Did you mean 'resnet"],
        ),
    ],
)
def test_what_a_part_cannot_be_built_from_is_named_before_it_is_built(
    file: Path, part: str, said: list[str]
) -> None:
    kind = part.partition(":")[0]
    file.write_text(re.sub(rf"{kind}: .*", lambda _: part, RUN))
    result = run("check", file)
    assert result.exit_code == 2
    shown = [line.partition(": ")[2] for line in result.stderr.splitlines()[1:]]
    assert len(shown) == len(said)
    assert all(line.startswith(wanted) for line, wanted in zip(shown, said, strict=True)), shown


def test_good_inline_config_is_checked_without_building_it(file: Path) -> None:
    shape = f"{{model_type: llama, {TINY}, intermediate_size: 24}}"
    settings = ("model.llm.model=null", f"model.llm.config={shape}")
    result = run("check", file, *(word for each in settings for word in ("--set", each)))
    assert result.exit_code == 0, result.stderr


def test_overrides_are_checked_too(file: Path) -> None:
    good = run("check", file, "--set", "model.connector.type=linear", "--set", "seed=3")
    assert good.exit_code == 0
    assert "linear" in good.stdout
    bad = run("check", file, "--set", "stages.0.lr=1e-3")
    assert bad.exit_code == 2
    assert "stages[0].lr: no such field" in bad.stderr


def test_data_that_is_not_there_yet_is_listed_and_is_no_problem(file: Path) -> None:
    (file.parent / "photos").mkdir()
    result = run("check", file, "--set", "model.llm.model=/nowhere/vicuna")
    assert result.exit_code == 0, result.stderr
    listed = result.stdout.partition("not here yet")[2].splitlines()[1:]
    assert listed == [
        "  model.llm: /nowhere/vicuna",
        f"  stages[0].data[0].file: {file.parent / 'a.json'}",
    ]
    (file.parent / "a.json").write_text("[]")
    kept = ("--set", "stages.0.features.cache=/nowhere/features")
    assert "not here yet" not in run("check", file, *kept).stdout


def test_stage_without_the_template_it_needs_is_told_so_as_train_does(file: Path) -> None:
    result = run("check", file, "--set", "template=null")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {file}: 1 problem\n  line 8: stages[0].template: ")


def test_sections_whose_fields_do_not_go_together_hide_nothing(file: Path) -> None:
    file.write_text(
        RUN.replace("template: vicuna_v1\n", "")
        .replace("{samples: 256}", "{micro_samples: 4}")
        .replace("epochs: 1", "epochs: 1\n    steps: 3\n    reset: [lm]")
    )
    shown = run("check", file).stderr.splitlines()[1:]
    assert [line.split(": ")[:2] for line in shown] == [
        ["  line 7", "stages[0].template"],
        ["  line 7", "stages[0]"],
        ["  line 10", "stages[0].batch"],
        ["  line 13", "stages[0].reset[0]"],
    ]


def test_missing_file_is_named(tmp_path: Path) -> None:
    result = run("check", tmp_path / "nowhere.yaml")
    assert result.exit_code == 2
    assert "nowhere.yaml" in result.stderr


@pytest.fixture(scope="module")
def whole() -> Draft202012Validator:
    shown = run("schema")
    assert shown.exit_code == 0
    schema = json.loads(shown.stdout)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_schema_has_every_built_in_part(whole: Draft202012Validator) -> None:
    definitions = whole.schema["$defs"]
    for name in ("encoder.clip", "connector.mlp", "llm.causal", "source.llava", "tuner.lora"):
        assert definitions[name]["description"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.name)
def test_examples_pass_the_check_and_the_schema(path: Path) -> None:
    from isthmus.core.config import read

    result = run("check", path)
    assert result.exit_code == 0, result.stderr
    kinds = {"evaluate": "evaluation", "synthesize": "synthesis", "capfilt": "capfilt"}
    kind = next((kind for name, kind in kinds.items() if name in path.stem), "run")
    whole = Draft202012Validator(json.loads(run("schema", kind).stdout))
    assert list(whole.iter_errors(read(path).values)) == []


EVALUATION = """
models: {mine: runs/mine}
benchmarks: {digits: {type: exact_match, data: digits.jsonl}}
"""


def test_an_evaluation_is_summed_up_and_has_a_schema_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "evaluate.yaml"
    file.write_text(EVALUATION)
    result = run("check", file)
    assert result.exit_code == 0, result.stderr
    assert "exact_match" in result.stdout
    assert "not here yet, and `isthmus evaluate` needs it:" in result.stdout
    assert f"models.mine: {tmp_path / 'runs' / 'mine'}" in result.stdout
    assert f"benchmarks.digits.data: {tmp_path / 'digits.jsonl'}" in result.stdout
    file.write_text(EVALUATION.replace("exact_match", "exactmatch") + "bench: 3\n")
    result = run("check", file)
    assert result.exit_code == 2
    assert "Did you mean 'exact_match'?" in result.stderr
    assert "bench: no such field" in result.stderr
    whole = json.loads(run("schema", "evaluation").stdout)
    Draft202012Validator.check_schema(whole)
    values = {"models": {"a": "b"}, "benchmarks": {"c": {"type": "exact_match", "data": "d"}}}
    assert Draft202012Validator(whole).is_valid(values)
    assert not Draft202012Validator(whole).is_valid({"models": {"a": "b"}})
    assert "stages" in json.loads(run("schema").stdout)["properties"]
