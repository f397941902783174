"""Whatever is wrong with a run's input: one clear message, exit 2, nothing half-written.

Each case goes through `isthmus train`, from the YAML to the pictures' bytes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from isthmus.cli import app
from isthmus.core import checkpoint
from tests.cli.spoilt import (
    RUN,
    Spoil,
    bomb,
    cut_off,
    half_a_jpeg,
    linked,
    says,
    third_picture,
    third_record,
    yaml,
)
from tests.core.train.tiny import record, write_data


@dataclass(frozen=True)
class Case:
    """What is wrong, and all of the message; DIR is the folder, and `...` stands for more.

    `left` is what the run's folder then holds; nothing: there is none. What can be seen before
    a picture is opened is seen before anything is written.
    """

    what: str
    spoil: Spoil
    message: str
    left: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


ONE = "run.yaml: 1 problem\n  "
PICTURE = "DIR/data.json, record 3: DIR/pictures/2.png: "
SOURCE = "stages[0].data[0]: "
THIRD = SOURCE + "DIR/data.json, record 3: "
CLAIMED = (".lock", "config.yaml")

GPT2 = "{model_type: gpt2, n_embd: 16, n_layer: 2, n_head: 2, n_positions: 64}"

CASES = [
    # The YAML.
    Case(
        "unknown key",
        yaml("optimizer:", "optimiser:"),
        ONE + "line 20: stages[0].optimiser: no such field. Fields: name, train, ... "
        "Did you mean 'optimizer'?",
    ),
    Case(
        "unknown key of a part",
        yaml("{type: linear}", "{type: mlp, dept: 3}"),
        ONE + "line 6: model.connector.dept: no such field. Fields of mlp: depth... "
        "Did you mean 'depth'?",
    ),
    Case(
        "wrong type",
        yaml("steps: 1", "steps: many"),
        ONE + "line 21: stages[0].steps: must be a whole number; found 'many'.",
    ),
    Case(
        "number as a string",
        yaml("lr: 1e-5", "lr: '1e-5'"),
        ONE + "line 20: stages[0].optimizer.lr: must be a number; found '1e-5'.",
    ),
    Case(
        "misspelt type of a part",
        yaml("{type: linear}", "{type: linaer}"),
        ONE + "line 6: model.connector.type: no connector is called 'linaer'. Known: ... "
        "Did you mean 'linear'?",
    ),
    Case(
        "misspelt part in train",
        yaml("{connector: full}", "{conector: full}"),
        ONE + "line 17: stages[0].train.conector: no part has this name. "
        "Parts: encoder, connector, llm. Did you mean 'connector'?",
    ),
    Case(
        "wrong setting on the command line",
        lambda folder: None,
        ONE + "stages[0].steps: must be a number above 0; found -3.",
        arguments=("--set", "stages.0.steps=-3"),
    ),
    Case(
        "text branch without a tokenizer",
        yaml("{type: linear}", "{type: qformer, text: instruction}"),
        ONE
        + "line 6: model.connector.tokenizer: `text: instruction` is read in tokens of its own; "
        "write `tokenizer: bert-base-uncased`, ..., or leave out `text`",
    ),
    Case(
        "more queries than positions",
        yaml("{type: linear}", "{type: resampler, queries: 64}"),
        ONE + "line 6: model.connector: an image becomes 64 visual tokens, and the llm has "
        "positions for 64, which leaves none for words; let resampler give fewer, or ...",
        arguments=("--set", f"model.llm.config={GPT2}"),
    ),
    Case(
        "more queries than a sample may be long",
        yaml("{type: linear}", "{type: cross_attention, queries: 32}"),
        ONE + "stages[0].max_length: an image becomes 32 visual tokens or more, which are never "
        "cut, and a sample of 32 has no place for words; allow more, or let model.connector give "
        "fewer",
        arguments=("--set", "stages.0.max_length=32"),
    ),
    Case(
        "gated cross-attention inside gated cross-attention",
        yaml(
            "{type: linear}",
            "{type: gated_cross_attention, states: {type: gated_cross_attention}}",
        ),
        ONE + "line 6: model.connector.states: gated_cross_attention enters the LLM itself; take a "
        "connector that gives visual tokens, like `resampler` or `mlp`, or leave it out",
    ),
    Case(
        "two problems at once",
        yaml(
            "batch: {samples: 4}\n    optimizer: {lr: 1e-5}", "batch: {}\n    optimizer: {lrs: 1}"
        ),
        "run.yaml: 2 problems\n"
        "  line 19: stages[0].batch: give either `samples` or `tokens`, the size of one step\n"
        "  line 20: stages[0].optimizer.lrs: no such field. Fields: lr, ... Did you mean 'lr'?",
    ),
    Case(
        "duplicate key",
        yaml("steps: 1", "steps: 1\n    steps: 2"),
        ONE + "line 22: stages[0].steps: given twice, first on line 21",
    ),
    Case(
        "YAML that is not YAML",
        yaml("{connector: full}", "{connector: full]"),
        ONE + "line 17: YAML: while parsing a flow mapping expected ',' or '}', but got ']'",
    ),
    Case(
        "text instead of YAML",
        lambda folder: (folder / "run.yaml").write_text("hello"),
        ONE + "a mapping (`key: value`) is needed; found a str",
    ),
    Case(
        "no YAML",
        lambda folder: (folder / "run.yaml").unlink(),
        ONE + "cannot be read: No such file or directory",
    ),
    # The data.
    Case(
        "missing image folder",
        yaml("images: pictures", "images: photos"),
        SOURCE + "images: there is no folder DIR/photos",
    ),
    Case(
        "missing dataset",
        yaml("file: data.json", "file: gone.json"),
        SOURCE + "DIR/gone.json: there is no such file",
    ),
    Case(
        "several missing datasets and image folders",
        yaml(
            "{type: llava, file: data.json, images: pictures}]",
            "{type: llava, file: gone.json, images: photos}, {type: messages, file: lost.json}]\n"
            "    validation: {data: [{type: llava, file: data.json, images: photos}]}",
        ),
        "3 sources of data cannot be used\n"
        "  stages[0].data[0]: images: there is no folder DIR/photos; DIR/gone.json: there is no "
        "such file\n"
        "  stages[0].data[1]: DIR/lost.json: there is no such file\n"
        "  stages[0].validation.data[0]: images: there is no folder DIR/photos",
    ),
    Case(
        "empty dataset",
        lambda folder: (folder / "data.json").write_text("[]"),
        SOURCE + "DIR/data.json: no record in it",
    ),
    Case(
        "dataset cut off in the middle",
        cut_off,
        SOURCE + "DIR/data.json, record 2: not JSON (Unterminated string starting at at line 1, "
        "column ...)",
    ),
    Case(
        "no assistant turn",
        third_record(conversations=says("<image>What is it?")),
        THIRD + "no assistant turn, so nothing to learn; give it an answer",
    ),
    Case(
        "more placeholders than images",
        third_record(conversations=says("<image><image>Compare.", "Alike.")),
        THIRD + "1 image, but 2 <image> in what the user says; write one where each image stands",
    ),
    Case(
        "image path out of the folder",
        third_record(image="../../etc/passwd"),
        THIRD + "image path '../../etc/passwd' leaves the `images` folder; remove '..'",
    ),
    Case(
        "absolute image path",
        third_record(image="/etc/passwd"),
        THIRD + "image path '/etc/passwd' is absolute; write it relative to the `images` folder",
    ),
    Case(
        "image that is a link out of the folder",
        linked,
        "DIR/data.json, record 3: image path '2.png' is a link that leaves the `images` folder "
        "DIR/pictures; copy the files, or let `images` name the folder they are in",
    ),
    # The pictures, which are opened when their step has come.
    Case(
        "missing image",
        lambda folder: (folder / "pictures" / "2.png").unlink(),
        PICTURE + "there is no such file",
        CLAIMED,
    ),
    Case(
        "image that is a text file",
        third_picture(b"I am no picture."),
        PICTURE + "no picture. Formats: JPEG, PNG, ...",
        CLAIMED,
    ),
    Case(
        "truncated JPEG",
        third_picture(half_a_jpeg()),
        PICTURE + "the file is cut short or damaged; fetch it again, or drop the record",
        CLAIMED,
    ),
    Case(
        "200-megapixel bomb",
        third_picture(bomb()),
        PICTURE + "more than twice the 89478485 pixels that are decoded. Make it smaller",
        CLAIMED,
    ),
    Case(
        "images longer than max_length",  # four visual tokens each
        yaml("steps: 1", "steps: 1\n    max_length: 3"),
        "stages[0].max_length: an image becomes 4 visual tokens or more, which are never cut, and "
        "a sample of 3 has no place for words; allow more, or let model.connector give fewer",
    ),
    Case(
        "nothing but an image and the start within max_length",
        yaml("steps: 1", "steps: 1\n    max_length: 5"),
        "step 1: 4 samples were left out, more than the share of 0.01 (`max_skipped`) of all 4 "
        "that may be. Repair the data, or allow more. The last: DIR/data.json, record ...: sample "
        "... has nothing to learn: no answer, or none within the first 5 tokens (`max_length`)",
        CLAIMED,
    ),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a run in it that is good."""
    write_data(tmp_path, 4)
    (tmp_path / "run.yaml").write_text(RUN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["train", "run.yaml", *arguments])


def check(stderr: str, message: str, folder: Path) -> None:
    """This message is all that stderr got."""
    pattern = re.escape(f"error: {message}\n").replace(re.escape("..."), "[^\n]+")
    found = stderr.replace(str(folder), "DIR")
    assert re.fullmatch(pattern, found), f"{found!r} is not {message!r}"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_bad_input_gets_one_message_and_exit_2(case: Case, folder: Path):
    case.spoil(folder)
    before = contents(folder)
    result = train(*case.arguments)
    check(result.stderr, case.message, folder)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    after = contents(folder)
    assert sorted(after.keys() - before.keys()) == [
        str(folder / "run" / name) for name in case.left
    ]
    assert {path: after[path] for path in before} == before


SHELL = ("wrong type", "truncated JPEG")


@pytest.mark.parametrize("case", [c for c in CASES if c.what in SHELL], ids=lambda case: case.what)
def test_a_shell_sees_the_same(case: Case, folder: Path):
    case.spoil(folder)
    command = [sys.executable, "-m", "isthmus", "train", "run.yaml"]
    ran = subprocess.run(command, capture_output=True, text=True)
    check(ran.stderr, case.message, folder)
    assert ran.returncode == 2


def test_run_that_a_picture_stopped_keeps_whole_checkpoints_and_goes_on_once_it_is_there(
    folder: Path,
):
    later = record("x", "<image>", "It is blue.", image="later.png")
    (folder / "later.json").write_text(json.dumps([later]))
    first = RUN[RUN.index("  - name") :]
    second = first.replace("align", "instruct").replace("data.json", "later.json")
    (folder / "run.yaml").write_text(RUN + second)

    result = train()
    assert result.exit_code == 2
    message = "DIR/later.json, record 1: DIR/pictures/later.png: there is no such file"
    check(result.stderr, message, folder)
    left = {path.name for path in (folder / "run").iterdir()}
    assert left == {*CLAIMED, "metrics.jsonl", "curves.png", "checkpoints"}
    (saved,) = (folder / "run" / "checkpoints").iterdir()
    checkpoint.verify(saved)

    Image.new("RGB", (8, 8), "blue").save(folder / "pictures" / "later.png")
    assert train("--resume").exit_code == 0
    state = checkpoint.load(folder / "run").trainer
    assert state is not None
    assert (state.stage, state.finished) == ("instruct", True)


def test_folder_that_holds_a_run_is_left_as_it_is(folder: Path):
    # `--resume` where there is nothing to resume begins; `1e-5` is a number.
    begun = train("--resume", "--out", "other")
    assert begun.exit_code == 0, begun.stderr
    assert "1.0e-05" in begun.stdout
    before = contents(folder)
    again = train("--out", "other")
    assert again.exit_code == 2
    message = (
        "out: other already holds a run. Write --resume to go on with it (in Python: "
        "resume=True), or give another folder with --out"
    )
    check(again.stderr, message, folder)
    changed = train("--out", "other", "--resume", "--set", "stages.0.optimizer.lr=1e-4")
    assert changed.exit_code == 2
    message = (
        "other/checkpoints/01-align-000001 was trained with other settings: "
        "stages[0].optimizer.lr was 1e-05 and is 0.0001. Give them back to resume, or start a new "
        "run with --out"
    )
    check(changed.stderr, message, folder)
    damaged = folder / "other" / "checkpoints" / "01-align-000001" / "trainer.json"
    damaged.write_text("{}")
    before[str(damaged)] = b"{}"
    broken = train("--out", "other", "--resume")
    assert broken.exit_code == 2
    message = (
        "other: no checkpoint in it is whole\n  other/checkpoints/01-align-000001: damaged: "
        "trainer.json has 2 bytes instead of ..."
    )
    check(broken.stderr, message, folder)
    assert contents(folder) == before
