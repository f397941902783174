"""A jury is one chat model, a list of them, or a mapping, in a file or inline."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.errors import ConfigError, DataError
from isthmus.evaluate.jury import names_of, read_jury

ONE = "type: openai\nmodel: gpt-4o\nprice: {prompt: 2.5, completion: 10}\n"


def test_one_chat_model_is_a_jury_and_may_have_settings_beside_its_own(tmp_path: Path) -> None:
    file = tmp_path / "judge.yaml"
    file.write_text(ONE)
    (judge,) = read_jury(str(file)).judges
    assert judge.build().identity() == {"type": "openai", "model": "gpt-4o"}
    file.write_text(ONE + "swap: true\nask: {max_cost: 2}\nparameters: {max_tokens: 99}\n")
    jury = read_jury(str(file))
    assert (jury.swap, jury.ask.max_cost) == (True, 2)
    assert (jury.parameters.max_tokens, jury.parameters.temperature) == (99, 0)


@pytest.mark.parametrize(
    "text",
    [
        "- {type: openai, model: a}\n- {type: openai, model: b}\n",
        "# Two of them.\n---\n- type: openai\n  model: a\n- type: openai\n  model: b\n",
        "judges: [{type: openai, model: a}, {type: openai, model: b}]\n",
    ],
)
def test_several_are_a_list(text: str, tmp_path: Path) -> None:
    file = tmp_path / "judges.yaml"
    file.write_text(text)
    assert names_of([judge.build() for judge in read_jury(str(file)).judges]) == ["a", "b"]


def test_yaml_itself_stands_where_a_file_may() -> None:
    assert len(read_jury("{type: openai, model: a}").judges) == 1
    assert len(read_jury('[{"type": "openai", "model": "a"}]').judges) == 1


def test_judges_of_one_name_are_told_apart() -> None:
    two = [{"type": "openai", "model": "m", "base_url": f"http://{host}/v1"} for host in ("a", "b")]
    jury = read_jury(str(two).replace("'", '"'))
    assert names_of([judge.build() for judge in jury.judges]) == ["m", "m (2)"]


def test_recorded_judges_are_read_from_the_yamls_folder(tmp_path: Path) -> None:
    (tmp_path / "said.jsonl").write_text('{"id": "llava_bench/0", "text": "8 4"}\n')
    (tmp_path / "judge.yaml").write_text("type: replay\nfile: said.jsonl\n")
    assert read_jury(str(tmp_path / "judge.yaml")).judges[0].build().answers.keys() == {
        "llava_bench/0"
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("type: opnai\nmodel: a\n", "Did you mean 'openai'?"),
        ("type: openai\nmodle: a\n", "line 2: judges[0].modle: "),
        ("- {type: openai, model: a}\n- {type: openai, modle: b}\n", "line 2: judges[1].modle"),
        ("- {type: openai, model: a}\n- {type: openai, model: a}\n", "agrees with itself"),
        ("type: openai\nmodel: a\nask: {max_costs: 1}\n", "line 3: ask.max_costs"),
        ("judges: []\n", "judges"),
        ("type: openai\nmodel: a\napi_key: sk-123\n", "a secret does not belong in a YAML"),
        ("", "found nothing"),
        ("just words", "found a str"),
    ],
)
def test_what_is_wrong_is_told_by_line(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "judge.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_jury(str(file))
    assert words in str(caught.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match=r"no\.yaml: there is no such file"):
        read_jury("no.yaml")
