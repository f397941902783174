"""LLaVA's records, right and wrong."""

from __future__ import annotations

import json
import pickle

import pytest

from isthmus.core.contracts import ImageSlot, Turn
from isthmus.errors import DataError
from isthmus.plugins.sources.llava import Llava

TALK = [
    {"from": "human", "value": "<image>\nWhat is this?"},
    {"from": "gpt", "value": "A cat."},
]
RECORD = {"id": "7", "image": "a.jpg", "conversations": TALK}


@pytest.fixture
def write(tmp_path):
    (tmp_path / "photos").mkdir()

    def write(records, name="train.json", **fields):
        text = records if isinstance(records, str) else json.dumps(records)
        (tmp_path / name).write_text(text, encoding="utf-8")
        fields = {"images": tmp_path / "photos"} | fields
        return Llava.Config(file=tmp_path / name, **fields).build()

    return write


def test_placeholders_become_slots(write, tmp_path):
    (sample,) = list(write([RECORD]))
    assert sample.id == "7"
    assert sample.turns == (
        Turn("user", (ImageSlot(0), "\nWhat is this?")),
        Turn("assistant", ("A cat.",)),
    )
    assert sample.images == (tmp_path.resolve() / "photos/a.jpg",)
    assert sample.origin == f"{tmp_path}/train.json, record 1"


def test_text_only_multi_turn_and_multi_image_samples(write):
    source = write(
        [
            {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]},
            {
                "id": 12,
                "image": ["a.jpg", "b.jpg", "c.jpg"],
                "conversations": [
                    {"from": "system", "value": "Be brief."},
                    {"from": "human", "value": "<image><image> compare"},
                    {"from": "gpt", "value": "An <image> tag."},
                    {"from": "human", "value": "and <image>?"},
                    {"from": "gpt", "value": ""},
                ],
            },
        ]
    )
    text, many = source[0], source[1]
    assert (text.id, text.images, text.slots) == ("0", (), ())
    assert many.id == "12"
    assert [path.name for path in many.images] == ["a.jpg", "b.jpg", "c.jpg"]
    assert many.turns[1].content == (ImageSlot(0), ImageSlot(1), " compare")
    assert many.turns[2].content == ("An <image> tag.",)
    assert many.turns[3].content == ("and ", ImageSlot(2), "?")
    assert [turn.role for turn in many.turns] == ["system", *["user", "assistant"] * 2]


def test_jsonl_and_json_give_the_same_samples(write):
    records = [RECORD | {"id": f"{i} \u732b\U0001f600"} for i in range(5)]
    whole = write(records)
    lines = "\ufeff" + "\n\n".join(json.dumps(r, ensure_ascii=False) for r in records) + "\r\n"
    by_line = write(lines, "train.jsonl")
    pretty = write(" \n" + json.dumps(records, indent=2, ensure_ascii=False) + "\n", "p.json")
    for other in (by_line, pretty):
        assert [(s.id, s.turns, s.images) for s in other] == [
            (s.id, s.turns, s.images) for s in whole
        ]
    assert by_line[2].origin.endswith("train.jsonl, line 5")
    assert whole[2].origin.endswith("train.json, record 3")


def test_limit_takes_the_first_records_and_looks_at_no_other(write):
    source = write([RECORD, RECORD, "broken"], limit=2)
    assert len(source) == 2
    with pytest.raises(DataError, match="record 3: a record is a JSON object"):
        write([RECORD, RECORD, "broken"])


def test_image_first_moves_a_single_image_before_its_words(write):
    talk = [{"from": "human", "value": "What is this?\n<image>"}, TALK[1]]
    alone = [{"from": "human", "value": "<image>\n"}, TALK[1]]
    records = [RECORD | {"conversations": talk}, RECORD | {"conversations": alone}]
    assert write(records)[0].turns[0].content == ("What is this?\n", ImageSlot(0))
    source = write(records, image_first=True)
    assert source[0].turns[0].content == (ImageSlot(0), "\nWhat is this?")
    assert source[1].turns[0].content == (ImageSlot(0),)
    assert source.fingerprint != write(records).fingerprint


def test_fingerprint_follows_the_records(write):
    same = write([RECORD]), write([RECORD], "copy.json")
    assert same[0].fingerprint == same[1].fingerprint
    assert same[0].fingerprint != write([RECORD | {"id": "8"}]).fingerprint


def test_source_is_small_to_send_and_reads_the_same_after(write):
    source = write([RECORD | {"id": str(i)} for i in range(1000)])
    sent = pickle.dumps(source)
    assert len(sent) < 30_000
    assert pickle.loads(sent)[999] == source[999]


def talk(*roles):
    return [{"from": role, "value": "x"} for role in roles]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (RECORD | {"conversations": talk("human")}, "no assistant turn"),
        ({"conversations": talk("human", "gpt", "human")}, "last turn has no answer"),
        ({"conversations": talk("gpt", "human")}, "turn 1 is the assistant's; expected system or"),
        ({"conversations": talk("human", "human", "gpt")}, "turn 2 is the user's; expected assis"),
        ({"conversations": talk("human", "system", "gpt")}, "turn 2 is the system's"),
        ({"conversations": []}, "`conversations` is a list"),
        ({"messages": []}, "`conversations` is a list"),
        ({"conversations": talk("bot", "gpt")}, "a turn is {"),
        ({"conversations": ["hi"]}, "a turn is {"),
        ({"conversations": [{"from": "human", "value": 7}]}, "`value` is text; found 7"),
        ({"conversations": [{"from": "human", "value": "\ud83d"}]}, "half of a surrogate"),
        (RECORD | {"image": ["a.jpg", "b.jpg"]}, "2 images, but 1 <image>"),
        ({"conversations": TALK}, "0 images, but 1 <image>"),
        (RECORD | {"image": "../../etc/passwd"}, "leaves the `images` folder"),
        (RECORD | {"image": "/etc/passwd"}, "absolute"),
        (RECORD | {"image": 7}, "path of a file"),
        ([RECORD], "a record is a JSON object"),
    ],
)
def test_wrong_record_is_named_when_the_file_is_opened(record, said, write, tmp_path):
    with pytest.raises(DataError) as caught:
        write([RECORD, record])
    assert str(caught.value).startswith(f"{tmp_path}/train.json, record 2: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no record in it"),
        ("[]", "no record in it"),
        ("\n\n", "no record in it"),
        ('[{"a": 1}', "record 1: "),
        ("[{]", "record 1: not JSON"),
        ("hello", "line 1: not JSON (Expecting value at line 1, column 1)"),
        ('{"a": 1,\n"b": 2}', "Write one record per line"),
    ],
)
def test_wrong_file_is_named(text, said, write, tmp_path):
    with pytest.raises(DataError) as caught:
        write(text)
    assert str(caught.value).startswith(f"{tmp_path}/train.json")
    assert said in str(caught.value)


def test_list_without_commas_is_refused(write):
    text = json.dumps(RECORD)
    with pytest.raises(DataError, match="after record 1 stands neither"):
        write(f"[{text} {text}]")


def test_missing_file_and_missing_image_folder_are_refused_when_opened(write, tmp_path):
    with pytest.raises(DataError, match=r"gone\.json: there is no such file"):
        Llava.Config(file=tmp_path / "gone.json").build()
    with pytest.raises(DataError, match="there is no folder"):
        write([RECORD], images=tmp_path / "nowhere")
    with pytest.raises(DataError, match="names an image; give `images`"):
        write([RECORD], images=None)


def test_link_out_of_the_image_folder_is_refused(write, tmp_path):
    (tmp_path / "photos/a.jpg").symlink_to("/etc/passwd")
    with pytest.raises(DataError, match=r"record 1: .*link that leaves"):
        write([RECORD])[0]


def test_file_that_changed_under_way_is_noticed(write, tmp_path):
    source = write([RECORD, RECORD])
    (tmp_path / "train.json").write_text("[]")
    with pytest.raises(DataError, match="changed or went away"):
        source[1]


def test_real_records_open(data_folder):
    folder = data_folder / "llava_pretrain_2k"
    source = Llava.Config(
        file=folder / "blip_laion_cc_sbu_2k.json", images=folder / "images"
    ).build()
    assert len(source) > 2000
    assert all(len(source[i].slots) == 1 for i in range(0, len(source), 100))
    assert next(iter(source.texts())).strip()
