"""What a run refuses, before it writes anything or as soon as it is seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isthmus.core.config import load as load_config
from isthmus.core.contracts import StepEnded
from isthmus.core.model.build import build_model
from isthmus.core.train.config import RunConfig
from isthmus.core.train.run import run
from isthmus.errors import ConfigError, DataError, FreezeError, InputError
from tests.core.train.listeners import Recorder
from tests.core.train.tiny import stage, tiny_run, write_data


def test_folder_of_another_run_is_refused(tmp_path: Path):
    write_data(tmp_path, 4)
    config = tiny_run(tmp_path, stage(tmp_path, steps=1))
    run(config)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"already holds a run\. Write --resume"):
        run(config)
    with pytest.raises(InputError, match=r"stages\[0\]\.optimizer\.lr was 0\.003 and is 0\.5"):
        run(config, overrides=["stages.0.optimizer.lr=0.5"], resume=True)
    write_data(tmp_path / "new", 4, text_only=1)
    (tmp_path / "data.json").write_text((tmp_path / "new" / "data.json").read_text())
    with pytest.raises(InputError, match=r"stages\[0\]\.data: it is not the data"):
        run(config, resume=True)
    assert [path for path in sorted(tmp_path.rglob("*")) if "new" not in path.parts] == before


def test_out_that_is_a_file_is_refused(tmp_path: Path):
    write_data(tmp_path, 4)
    with pytest.raises(InputError, match="is a file; a run needs a folder"):
        run(tiny_run(tmp_path, out=str(tmp_path / "data.json")))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"template": None}, ConfigError, r"stages\[0\]\.template: conversations must be written"),
        ({"model": {"encoder": {"type": "clip", "config": {}}}}, ConfigError, "no part has this"),
    ],
)
def test_wrong_input_is_said_before_anything_is_written(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], message: str
):
    write_data(tmp_path, 4)
    with pytest.raises(error, match=message):
        run(tiny_run(tmp_path, **change))
    assert not (tmp_path / "run").exists()


def test_objective_without_its_part_is_refused(tmp_path: Path):
    write_data(tmp_path, 4)
    model = {"encoder": tiny_run(tmp_path)["model"]["encoder"]}
    config = tiny_run(tmp_path, stage(tmp_path, train={"encoder": "full"}), model=model)
    with pytest.raises(ConfigError, match=r"stages\[0\]\.objective: 'lm' needs the part 'llm'"):
        run(config)
    assert not (tmp_path / "run").exists()


def test_missing_and_empty_data_name_their_place(tmp_path: Path):
    write_data(tmp_path, 4)
    config = tiny_run(tmp_path)
    config["stages"][0]["data"][0]["file"] = str(tmp_path / "nowhere.json")
    with pytest.raises(DataError, match=r"stages\[0\]\.data\[0\]: .*nowhere\.json"):
        run(config)
    (tmp_path / "empty.jsonl").write_text("")
    config["stages"][0]["data"][0]["file"] = str(tmp_path / "empty.jsonl")
    with pytest.raises(DataError, match=r"stages\[0\]\.data\[0\]: "):
        run(config)
    assert not (tmp_path / "run").exists()


def test_stage_in_which_nothing_learns_is_refused(tmp_path: Path):
    write_data(tmp_path, 4)
    with pytest.raises(InputError, match=r"stages\[0\]\.train: nothing learns"):
        run(tiny_run(tmp_path, stage(tmp_path, train={"connector": "frozen"})))


def test_tampered_frozen_weight_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    built = []

    def build_and_keep(*args: Any, **more: Any) -> Any:
        built.append(build_model(*args, **more))
        return built[-1]

    def tamper(event: StepEnded) -> None:
        if event.step == 2:
            next(built[0].llm.parameters()).data.view(-1)[0] += 1

    monkeypatch.setattr("isthmus.core.train.run.build_model", build_and_keep)
    write_data(tmp_path, 4)
    with pytest.raises(FreezeError, match=r"1 of .* frozen tensors changed.*'llm\."):
        run(tiny_run(tmp_path), events=Recorder(tamper))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_run_put_together_in_python_is_checked_before_its_data_is_opened(tmp_path: Path):
    settings = load_config(RunConfig, tiny_run(tmp_path)).model_copy(update={"template": None})
    with pytest.raises(ConfigError, match=r"stages\[0\].template: conversations must be written"):
        run(settings)
    assert list(tmp_path.iterdir()) == []
