"""Whatever is wrong with a run's data: one clear message, exit 2, nothing half-written.

Each case goes through `isthmus train`, from the YAML to the pictures' bytes.
"""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from isthmus.core import checkpoint
from tests.cli.refusals import CLAIMED, Case, only, train
from tests.cli.spoilt import (
    RUN,
    bomb,
    cut_off,
    half_a_jpeg,
    linked,
    says,
    third_picture,
    third_record,
    yaml,
)
from tests.core.train.tiny import record

PICTURE = "DIR/data.json, record 3: DIR/pictures/2.png: "
SOURCE = "stages[0].data[0]: "
THIRD = SOURCE + "DIR/data.json, record 3: "

CASES = [
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


def test_run_that_a_picture_stopped_keeps_whole_checkpoints_and_goes_on_once_it_is_there(
    good_run: Path,
):
    later = record("x", "<image>", "It is blue.", image="later.png")
    (good_run / "later.json").write_text(json.dumps([later]))
    first = RUN[RUN.index("  - name") :]
    second = first.replace("align", "instruct").replace("data.json", "later.json")
    (good_run / "run.yaml").write_text(RUN + second)

    result = train()
    assert result.exit_code == 2
    message = "DIR/later.json, record 1: DIR/pictures/later.png: there is no such file"
    assert only(message, good_run).fullmatch(result.stderr)
    left = {path.name for path in (good_run / "run").iterdir()}
    assert left == {*CLAIMED, "metrics.jsonl", "curves.png", "checkpoints"}
    (saved,) = (good_run / "run" / "checkpoints").iterdir()
    checkpoint.verify(saved)

    Image.new("RGB", (8, 8), "blue").save(good_run / "pictures" / "later.png")
    assert train("--resume").exit_code == 0
    state = checkpoint.load(good_run / "run").trainer
    assert state is not None
    assert (state.stage, state.finished) == ("instruct", True)
