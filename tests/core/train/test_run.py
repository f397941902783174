"""Whole runs of tiny parts: what they write, refuse, and how they go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from isthmus.core import checkpoint
from isthmus.core.config import load as load_config
from isthmus.core.contracts import StepEnded
from isthmus.core.model.build import build_model
from isthmus.core.train.config import RunConfig
from isthmus.core.train.opening import open_stages, texts
from isthmus.core.train.run import run
from isthmus.errors import ConfigError, DataError, FreezeError, ImageError, InputError
from tests.core.train.listeners import Crash, Recorder, crash_at, metrics
from tests.core.train.tiny import source, stage, tiny_run, write_data


def weights(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((folder / "model").iterdir())}


ALL = {"encoder": "full", "connector": "full", "llm": "full"}


def test_two_stages_leave_what_they_promise(tmp_path: Path):
    write_data(tmp_path, 8, text_only=2)
    heard = Recorder()
    validation = {"data": [source(tmp_path)], "every": 2}
    align = stage(tmp_path, validation=validation, save_every=3)
    instruct = stage(tmp_path, name="instruct", train=ALL, epochs=1, steps=None)
    final = run(tiny_run(tmp_path, align, instruct), events=heard)

    out = tmp_path / "run"
    assert final == out / "checkpoints" / "02-instruct-000003"  # 10 samples in steps of 4
    assert {path.name for path in out.iterdir()} == {
        ".lock",
        "config.yaml",
        "metrics.jsonl",
        "curves.png",
        "checkpoints",
    }
    assert [(row.part, row.tuner, row.trainable > 0) for row in heard.stages[0].table] == [
        ("encoder", "frozen", False),
        ("connector", "full", True),
        ("llm", "frozen", False),
    ]
    assert [event.step for event in heard.steps] == [1, 2, 3, 4, 1, 2, 3]
    assert [event.samples for event in heard.steps] == [4, 4, 4, 4, 4, 4, 2]
    assert [event.step for event in heard.evaluated_] == [2, 4]
    for event in heard.evaluated_:
        found = event.metrics
        assert found["grounding"] == found["val_loss_shuffled"] - found["val_loss"] != 0
    assert [event.folder.name for event in heard.saved] == [
        "01-align-000003",
        "01-align-000004",
        "02-instruct-000003",
    ]
    assert sum("val_loss" in line for line in metrics(out)) == 2
    state = checkpoint.load(out).trainer
    assert state is not None
    assert (state.stage, state.step, state.finished) == ("instruct", 3, True)


def test_stage_one_changes_the_connector_alone(tmp_path: Path):
    write_data(tmp_path)
    first = run(tiny_run(tmp_path, stage(tmp_path, steps=1, optimizer={"lr": 1e-30})))
    longer = tiny_run(tmp_path, stage(tmp_path, steps=2), out=str(tmp_path / "other"))
    second = run(longer)
    changed = [name for name, content in weights(first).items() if weights(second)[name] != content]
    assert changed == ["connector.safetensors"]


def test_loss_falls(tmp_path: Path):
    write_data(tmp_path, 8)
    heard = Recorder()
    optimizer = {"lr": 1e-2}
    config = tiny_run(tmp_path, stage(tmp_path, train=ALL, steps=60, optimizer=optimizer))
    run(config, events=heard)
    losses = [event.loss for event in heard.steps]
    assert losses[0] > 5
    assert max(losses[-5:]) < 1.5


@pytest.mark.parametrize("tuner", ["full", {"type": "lora", "r": 2, "hand_over": "keep"}])
def test_resume_after_a_crash_gives_equal_bytes_and_losses(tmp_path: Path, tuner: Any):
    write_data(tmp_path, 10)
    train = {"connector": "full", "llm": tuner}
    stages = (
        stage(tmp_path, save_every=2, validation={"data": [source(tmp_path)], "every": 2}),
        stage(tmp_path, name="instruct", train=train, steps=5, save_every=2),
    )
    whole = run(tiny_run(tmp_path, *stages, out=str(tmp_path / "whole")))

    broken = tiny_run(tmp_path, *stages, out=str(tmp_path / "broken"))
    with pytest.raises(Crash):
        run(broken, events=crash_at("align", 1))  # before any checkpoint: starts afresh
    with pytest.raises(Crash):
        run(broken, events=crash_at("align", 3), resume=True)
    with pytest.raises(Crash):
        run(broken, events=crash_at("instruct", 1), resume=True)
    heard = crash_at("instruct", 5)
    with pytest.raises(Crash):
        run(broken, events=heard, resume=True)
    assert heard.stages[0].first_step == 0
    heard = Recorder()
    resumed = run(broken, events=heard, resume=True)
    assert heard.stages[0].first_step == 4
    assert weights(resumed) == weights(whole)
    assert metrics(tmp_path / "broken") == metrics(tmp_path / "whole")


def test_published_weights_are_rounded_alike_in_a_run_that_was_resumed(tmp_path: Path):
    write_data(tmp_path, 8)
    folder = tmp_path / "published"
    opened = open_stages(load_config(RunConfig, tiny_run(tmp_path)))
    settings = load_config(RunConfig, tiny_run(tmp_path)).model
    llm = build_model(settings, texts=lambda: texts(opened)).llm
    llm.model.save_pretrained(folder)
    llm.tokenizer.save_pretrained(folder)
    model = tiny_run(tmp_path)["model"] | {"llm": {"type": "causal", "model": str(folder)}}
    # Frozen, the llm is kept in bf16, and a checkpoint refers to its folder; then it learns.
    stages = stage(tmp_path, steps=1), stage(tmp_path, name="b", train={"llm": "full"}, steps=2)
    fields = {"model": model, "precision": "bf16"}
    whole = run(tiny_run(tmp_path, *stages, **fields))
    broken = tiny_run(tmp_path, *stages, **fields, out=str(tmp_path / "broken"))
    with pytest.raises(Crash):
        run(broken, events=crash_at("b", 1))
    assert weights(run(broken, resume=True)) == weights(whole)


def test_resume_behind_a_damaged_checkpoint_says_so(tmp_path: Path):
    write_data(tmp_path, 4)
    config = tiny_run(tmp_path, stage(tmp_path, steps=1), stage(tmp_path, name="b", steps=1))
    final = run(config)
    whole = weights(final)
    file = final / "model" / "connector.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    heard = Recorder()
    assert run(config, events=heard, resume=True) == final
    assert weights(final) == whole
    (note,) = heard.stages[0].notes
    assert note.startswith("skipped a checkpoint: ")
    assert "connector.safetensors has changed" in note


def test_resume_of_a_finished_run_returns_its_checkpoint(tmp_path: Path):
    write_data(tmp_path, 4)
    config = tiny_run(tmp_path, stage(tmp_path, steps=1))
    final = run(config)
    heard = Recorder()
    assert run(config, resume=True, events=heard) == final
    assert heard.stages == []


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


def test_reset_draws_a_part_anew_for_its_stage(tmp_path: Path):
    write_data(tmp_path, 4)
    tiny = {"optimizer": {"lr": 1e-30}, "steps": 1}
    stages = stage(tmp_path, **tiny), stage(tmp_path, name="again", reset=["connector"], **tiny)
    final = run(tiny_run(tmp_path, *stages))
    first = final.parent / "01-align-000001"
    assert weights(first)["llm.safetensors"] == weights(final)["llm.safetensors"]
    assert weights(first)["connector.safetensors"] != weights(final)["connector.safetensors"]


def test_lora_is_merged_or_kept_between_stages(tmp_path: Path):
    write_data(tmp_path, 4)
    for hand_over, added in (("merge", False), ("keep", True)):
        lora = {"type": "lora", "r": 2, "hand_over": hand_over}
        out = tmp_path / hand_over
        stages = (
            stage(tmp_path, train={"llm": lora}, steps=2),
            stage(tmp_path, name="second", steps=1),
        )
        final = run(tiny_run(tmp_path, *stages, out=str(out)))
        assert bool(checkpoint.load(out).tuners) == added
        names = load_file(final / "model" / "llm.safetensors")
        assert any("lora_" in name for name in names) == added
        checkpoint.load(out).model()


def test_bf16_keeps_what_learns_in_fp32_and_what_is_frozen_in_bf16(tmp_path: Path):
    write_data(tmp_path, 8)
    stages = stage(tmp_path, train={"connector": "full"}), stage(tmp_path, name="b", train=ALL)
    final = run(tiny_run(tmp_path, *stages, precision="bf16"))
    first = final.parent / "01-align-000004" / "model"

    def dtypes(folder: Path, part: str) -> set[torch.dtype]:
        return {t.dtype for t in load_file(folder / f"{part}.safetensors").values()}

    assert dtypes(first, "llm") == dtypes(first, "encoder") == {torch.bfloat16}
    assert dtypes(first, "connector") == {torch.float32}
    assert dtypes(final / "model", "llm") == {torch.float32}


def test_batches_counted_in_tokens_run(tmp_path: Path):
    write_data(tmp_path, 8, text_only=4)
    heard = Recorder()
    batch = {"tokens": 500, "micro_tokens": 200}
    validation = {"data": [source(tmp_path)]}
    counted = stage(tmp_path, batch=batch, steps=None, epochs=1, validation=validation)
    run(tiny_run(tmp_path, counted), events=heard)
    assert sum(event.samples for event in heard.steps) == 12
    assert max(event.tokens for event in heard.steps) <= 500


def test_workers_change_nothing(tmp_path: Path):
    write_data(tmp_path, 8)
    config = tiny_run(tmp_path, stage(tmp_path, steps=3))
    alone = run(config)
    helped = run(config | {"workers": 1, "out": str(tmp_path / "helped")})
    assert weights(alone) == weights(helped)


def test_blind_run_sees_no_picture(tmp_path: Path):
    write_data(tmp_path, 8)
    heard = Recorder()
    validation = {"data": [source(tmp_path)]}
    config = tiny_run(tmp_path, stage(tmp_path, steps=1, validation=validation), blind=True)
    run(config, events=heard)
    assert heard.evaluated_[0].metrics.keys() == {"val_loss"}


def test_skipped_samples_are_listed_and_counted(tmp_path: Path):
    write_data(tmp_path, 8)
    (tmp_path / "pictures" / "3.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"3\.png"):
        run(tiny_run(tmp_path, stage(tmp_path, steps=None, epochs=1)))
    heard = Recorder()
    skip = {"on_bad_image": "skip", "max_skipped": 0.2, "steps": None, "epochs": 1}
    config = tiny_run(tmp_path, stage(tmp_path, **skip), out=str(tmp_path / "skip"))
    run(config, events=heard)
    assert sum(event.samples for event in heard.steps) == 7
    (line,) = map(json.loads, (tmp_path / "skip" / "skipped.jsonl").read_text().splitlines())
    assert (line["stage"], line["id"]) == ("align", "p3")
    assert "3.png" in line["reason"]
    assert heard.ended[0].skipped == 1


def test_run_put_together_in_python_is_checked_before_its_data_is_opened(tmp_path: Path):
    settings = load_config(RunConfig, tiny_run(tmp_path)).model_copy(update={"template": None})
    with pytest.raises(ConfigError, match=r"stages\[0\].template: conversations must be written"):
        run(settings)
    assert list(tmp_path.iterdir()) == []
