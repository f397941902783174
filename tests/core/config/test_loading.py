"""Loading: every problem at once, each with its place, line, what was found and what may be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from isthmus.core.config import check, create, load, validate_part
from isthmus.errors import ConfigError, PartError
from tests.core.config.toy_parts import Bridge, Eye, Plank, Shelf, Tiles, Whole
from tests.core.config.toy_run import Run, Step

Write = Callable[[str], Path]

GOOD = """
model:
  encoder: {type: tiles, inner: {type: eye, layer: 3}}
  connector: plank
stages:
  - name: align
    train: {connector: whole}
    data: [{type: shelf, file: a/b.json, weight: 2}]
    lr: 1e-4
"""


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(Run, path, overrides)
    return [str(problem) for problem in caught.value.problems]


def test_names_and_mappings_become_the_parts_own_configs(yaml_file: Write) -> None:
    run = load(Run, yaml_file(GOOD))
    assert run.model.encoder == Tiles.Config(inner=Eye.Config(layer=3))
    assert run.model.connector == Plank.Config()
    assert run.stages[0].train == {"connector": Whole.Config()}
    assert run.stages[0].lr == 1e-4


def test_relative_data_paths_start_at_the_file_and_others_do_not(
    yaml_file: Write, tmp_path: Path
) -> None:
    run = load(Run, yaml_file(GOOD))
    source = run.stages[0].data[0]
    assert isinstance(source, Shelf.Config)
    assert source.file == tmp_path / "a/b.json"
    assert run.out == Path("runs/run")


def test_mapping_from_python_reads_relative_data_paths_from_the_current_folder() -> None:
    data = [{"type": "shelf", "file": "a.json"}, Shelf.Config(file=Path("b.json"))]
    run = load(Run, {"stages": [{"name": "x", "data": data}]})
    assert [source.file for source in run.stages[0].data] == [  # type: ignore[attr-defined]
        Path.cwd() / "a.json",
        Path.cwd() / "b.json",
    ]


def test_all_problems_come_at_once_in_the_order_of_lines(yaml_file: Write) -> None:
    text = """
model:
  encoder: {type: eye, layr: 3, size: big}
  connector: {type: brigde}
stages:
  - name: align
    train: {connector: whole}
    data: [{type: shelf}]
    lr: fast
    betas: [0.9, 0.99, 0.999]
  - schedule: {type: cosin}
    lr: -1
    name: 5
    tarin: {}
blind: yes
"""
    assert problems(yaml_file(text)) == [
        "line 3: model.encoder.size: must be a whole number or 'auto'; found 'big'.",
        "line 3: model.encoder.layr: no such field. Fields of eye: layer, size, model. "
        "Did you mean 'layer'?",
        "line 4: model.connector.type: no connector is called 'brigde'. Known: bridge, plank. "
        "Did you mean 'bridge'?",
        "line 8: stages[0].data[0].file: missing. Records.",
        "line 9: stages[0].lr: must be a number; found 'fast'.",
        "line 10: stages[0].betas: must be a list of at most 2; found a list of 3.",
        "line 11: stages[1].schedule.type: must be 'cosine' or 'constant'; found 'cosin'. "
        "Did you mean 'cosine'?",
        "line 12: stages[1].lr: must be a number above 0; found -1.",
        "line 13: stages[1].name: must be a string; found 5.",
        "line 14: stages[1].tarin: no such field. Fields: name, train, data, lr, betas, schedule, "
        "steps, epochs. Did you mean 'train'?",
        "line 15: blind: must be true or false; found 'yes'.",
    ]


def test_check_across_fields_speaks_beside_a_wrong_field(yaml_file: Write) -> None:
    text = GOOD.replace("{connector: whole}", "{conector: whole, connector: whole}")
    assert problems(yaml_file(text + "blnd: true\n")) == [
        "line 7: stages[0].train.conector: no part has this name",
        "line 10: blnd: no such field. Fields: model, stages, blind, out. Did you mean 'blind'?",
    ]


def test_check_across_fields_speaks_beside_a_wrong_part(yaml_file: Write) -> None:
    text = """
model: {connector: {type: brigde}}
stages:
  - {name: a, train: {conector: whole}, data: [{type: shelf, weigth: 2}]}
  - {name: b, train: {connector: whole, lm: {type: hole}}}
  - {name: c, train: {lm: whole}}
"""
    assert problems(yaml_file(text)) == [
        "line 2: model.connector.type: no connector is called 'brigde'. Known: bridge, plank. "
        "Did you mean 'bridge'?",
        "line 4: stages[0].data[0].file: missing. Records.",
        "line 4: stages[0].data[0].weigth: no such field. Fields of shelf: weight, file, images, "
        "crops, tags. Did you mean 'weight'?",
        "line 4: stages[0].train.conector: no part has this name",
        "line 5: stages[1].train.lm.type: no tuner is called 'hole'. Known: whole. "
        "Did you mean 'whole'?",
        "line 6: stages[2].train.lm: no part has this name",
    ]


def test_check_across_fields_speaks_beside_a_section_that_does_not_go_together(
    yaml_file: Write,
) -> None:
    text = "stages: [{name: a, steps: 3, epochs: 2, train: {lm: whole}, data: [{type: shelf}]}]"
    complete = text.replace("shelf}", "shelf, file: x}")
    assert problems(yaml_file(complete)) == [
        "line 1: stages[0].train.lm: no part has this name",
        "line 1: stages[0]: give either `epochs` or `steps`",
    ]
    assert problems(yaml_file(text)) == [
        "line 1: stages[0].data[0].file: missing. Records.",
        "line 1: stages[0].train.lm: no part has this name",
    ]


def test_configuration_made_in_python_is_checked_across_fields_when_asked() -> None:
    run = Run(stages=(Step(name="a", train={"lm": Whole.Config()}),))
    with pytest.raises(ConfigError, match=r"1 problem\n  stages\[0\].train.lm: no part has"):
        check(run)


def test_misspelt_type_and_field_of_a_section_are_told_what_was_meant(yaml_file: Write) -> None:
    text = "model: {connector: {typ: plank}}\nstages: [{name: a, warmup: 3}]"
    said = problems(yaml_file(text))
    assert "line 1: model.connector.type: which connector? Write `type: NAME`." in said[0]
    assert said[1].endswith("Did you mean 'schedule.warmup'?")
    wrong = "model: {encoder: {type: eye, typ: x}}\nstages: [{name: a}]"
    assert problems(yaml_file(wrong))[0].endswith("Did you mean 'type'?")


def test_check_across_fields_is_silent_about_a_field_that_is_wrong_already(
    yaml_file: Write,
) -> None:
    text = "stages: [{name: a, steps: 3, epochs: ten}]"
    assert problems(yaml_file(text)) == [
        "line 1: stages[0].epochs: must be a whole number; found 'ten'."
    ]
    assert problems(yaml_file(text.replace("ten", "10"))) == [
        "line 1: stages[0]: give either `epochs` or `steps`"
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("steps: '3'", "must be a whole number; found '3'."),
        ("steps: true", "must be a whole number; found true."),
        ("steps: 2.5", "must be a whole number; found 2.5."),
        ("steps: 010", "must be a whole number; found '010'."),
        ("steps: [3]", "must be a whole number; found a list of 1."),
        ("lr: '1e-3'", "must be a number; found '1e-3'."),
        ("lr: .nan", "must be a number; found '.nan'."),
        ("lr: 1e999", "must be a finite number; found inf."),
        ("train: full", "must be a mapping; found 'full'."),
        ("data: {type: shelf}", "must be a list; found a mapping."),
        ("schedule: cosine", "must be a mapping; found 'cosine'."),
        ("train: {llm: {}}", "which tuner? Write `type: NAME`. Known: whole"),
        ("train: {llm: 3}", "a tuner is a name, or a mapping with `type: NAME`; found 3"),
        ("data: [{type: [a]}]", "no source is called ['a']. Known: shelf."),
        (
            "data: [{type: shelf, file: x, crops: [{width: 1, keep: 1}]}]",
            "must be true or false; found 1.",
        ),
    ],
)
def test_wrong_value_is_told_what_was_found_and_what_may_be(
    yaml_file: Write, line: str, message: str
) -> None:
    (problem,) = problems(yaml_file(f"stages:\n- name: a\n  {line}"))
    assert problem.startswith("line 3: stages[0].")
    assert problem.endswith(message)


def test_whole_numbers_may_be_written_as_floats(yaml_file: Write) -> None:
    assert load(Run, yaml_file("stages: [{name: a, steps: 1e3, lr: 1}]")).stages[0].steps == 1000


def test_strings_that_look_like_numbers_stay_strings(yaml_file: Write) -> None:
    text = "stages: [{name: 012, data: [{type: shelf, file: x, tags: {a: 12:30, b: yes}}]}]"
    run = load(Run, yaml_file(text))
    assert run.stages[0].name == "012"
    assert run.stages[0].data[0].tags == {"a": "12:30", "b": "yes"}  # type: ignore[attr-defined]


def test_empty_list_where_items_are_needed_is_told_so(yaml_file: Write) -> None:
    assert problems(yaml_file("stages: []")) == [
        "line 1: stages: must be a list of at least 1; found a list of 0."
    ]


@pytest.mark.parametrize("key", ["api_key", "OPENAI_API_KEY", "password", "hf_token", "Secret"])
def test_secrets_are_refused_and_never_printed(yaml_file: Write, key: str) -> None:
    path = yaml_file(f"stages: [{{name: a, data: [{{type: shelf, file: x, {key}: s3cr3t}}]}}]")
    (problem,) = problems(path)
    assert f"name the variable: `{key}_env`" in problem
    assert "s3cr3t" not in problem


def test_tokens_of_a_tokenizer_are_no_secrets(yaml_file: Write) -> None:
    tags = "{pad_token: <pad>, api_key_env: HOME, keyboard: a, token: b}"
    run = load(
        Run, yaml_file(f"stages: [{{name: a, data: [{{type: shelf, file: x, tags: {tags}}}]}}]")
    )
    assert run.stages[0].name == "a"


def test_validate_part_gives_the_config_that_was_dumped() -> None:
    assert validate_part("encoder", {"type": "eye", "layer": 1}) == Eye.Config(layer=1)
    with pytest.raises(PartError, match="no encoder is called 'ear'"):
        validate_part("encoder", {"type": "ear"})
    with pytest.raises(ConfigError, match=r"encoder eye: 1 problem\n  layer: must be"):
        validate_part("encoder", {"type": "eye", "layer": "x"})


def test_create_tells_fields_and_build_arguments_apart() -> None:
    bridge = create("connector", "bridge", depth=3, dim_in=4, dim_out=5, dropout=0.5)
    assert isinstance(bridge, Bridge)
    assert (bridge.config.depth, bridge.dim_in, bridge.dim_out, bridge.dropout) == (3, 4, 5, 0.5)
    assert create("connector", "bridge", dim_in=4, dim_out=5).dropout == 0.0


def test_create_takes_a_nested_part_by_name_or_by_config() -> None:
    for inner in ("eye", {"type": "eye"}, Eye.Config()):
        assert create("encoder", "tiles", inner=inner).config.inner == Eye.Config()


def test_create_names_both_sets_for_an_unknown_argument() -> None:
    with pytest.raises(PartError) as caught:
        create("connector", "bridge", depht=3, dim_in=4, dim_out=5)
    assert str(caught.value) == (
        "connector 'bridge' has no argument 'depht'. Config fields: depth. "
        "Build arguments: dim_in, dim_out, dropout. Did you mean 'depth'?"
    )


def test_create_names_build_arguments_that_are_missing() -> None:
    with pytest.raises(PartError, match="needs the build arguments dim_in, dim_out"):
        create("connector", "bridge", depth=1)


def test_create_refuses_wrong_values() -> None:
    with pytest.raises(ConfigError, match="depth: must be a number of at least 1; found 0"):
        create("connector", "bridge", depth=0, dim_in=1, dim_out=1)
