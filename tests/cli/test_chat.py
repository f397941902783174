"""`isthmus chat`: a conversation through a pipe, and what Ctrl-C does to it."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner, Result

from isthmus.cli import app
from isthmus.cli.chat import Talk
from isthmus.core import checkpoint
from isthmus.core.assistant import Assistant, load
from tests.tiny_run import save_tiny_run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_run(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (9, 9), "red").save(tmp_path / "red.png")
    return tmp_path / "red.png"


def chat(model: Path, lines: Sequence[str], *more: str | Path) -> Result:
    arguments = ["chat", "--model", model, "--device", "cpu", "--max-new-tokens", 8, *more]
    return CliRunner().invoke(app, [str(a) for a in arguments], input="".join(lines))


def user(text: str, *images: Path) -> dict[str, Any]:
    shown = [{"type": "image", "image": image} for image in images]
    return {"role": "user", "content": [*shown, {"type": "text", "text": text}]}


def printed(answer: str) -> str:
    """Without control characters: a model with random weights says such things."""
    return "".join(c for c in answer if c in "\n\t" or unicodedata.category(c) != "Cc")


def test_a_piped_conversation_is_answered_turn_by_turn(model: Path, photo: Path) -> None:
    speaker = load(model, device="cpu")
    messages: list[dict[str, Any]] = []
    expected = []
    for asked in (user("What is this?", photo), user("Why?"), user("And this?", photo)):
        messages.append(asked)
        expected.append(speaker.reply(messages, max_new_tokens=8))
        messages.append({"role": "assistant", "content": expected[-1]})
    lines = ["What is this?\n", "\n", "Why?\n", f"/image {photo}\n", "And this?\n"]
    result = chat(model, lines, "--image", photo)
    assert result.exit_code == 0, result.stderr
    first, second, third = map(printed, expected)
    note = f"{photo} goes with your next question."
    assert result.stdout == f"{first}\n{second}\n{note}\n{third}\n"


def test_reset_forgets_everything(model: Path, photo: Path) -> None:
    first = printed(load(model, device="cpu").reply([user("Hello")], max_new_tokens=8))
    lines = ["Hello\n", f"/image {photo}\n", "/reset\n", "Hello\n", "/quit\n", "Hello\n"]
    result = chat(model, lines)
    assert result.stdout.count(f"{first}\n") == 2
    assert result.stdout.endswith(f"The conversation begins anew.\n{first}\n")


def test_wrong_input_gets_a_message_and_the_talk_goes_on(model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    lines = [
        f"/image {tmp_path / 'nothing.png'}\n",
        f"/image {tmp_path / 'notes.txt'}\n",
        "/image\n",
        "/imge x\n",
        "/help\n",
        "Hello\n",
    ]
    result = chat(model, lines)
    assert result.exit_code == 0
    out = result.stdout.split("\n")
    for line, words in zip(
        out,
        ["no such file", "no picture", "needs a file", "no /imge. Did you mean '/image'?"],
        strict=False,
    ):
        assert line.startswith("error: ")
        assert words in line
    assert any(line.startswith("/quit") for line in out)
    hello = printed(load(model, device="cpu").reply([user("Hello")], max_new_tokens=8))
    assert result.stdout.endswith(f"{hello}\n")


def test_a_wrong_image_or_model_at_the_start_exits_2(model: Path, tmp_path: Path) -> None:
    result = chat(tmp_path / "nowhere", [], "--image", tmp_path / "x.png")
    assert (result.exit_code, "x.png: there is no such file" in result.stderr) == (2, True)
    result = chat(tmp_path / "nowhere", [])
    assert (result.exit_code, "no such folder" in result.stderr) == (2, True)


class Script(Assistant):
    """Says what it is told to; an exception among the pieces is raised."""

    def __init__(self, *pieces: str | BaseException) -> None:
        self.pieces = pieces
        self.heard: list[Any] = []

    def stream(self, messages: Any, **settings: Any) -> Iterator[str]:
        self.heard.append(messages)
        for piece in self.pieces:
            if isinstance(piece, BaseException):
                raise piece
            yield piece


def talk(speaker: Script, system: str = "") -> tuple[Talk, StringIO]:
    out = StringIO()
    return Talk(speaker, Console(file=out, width=20), system, [], {}), out


def test_ctrl_c_stops_the_answer_and_keeps_what_was_said() -> None:
    speaker = Script("A cat", " on", KeyboardInterrupt())
    scene, out = talk(speaker)
    assert scene.hear("What?")
    assert out.getvalue() == "A cat on (stopped)\n"
    assert scene.messages[1:] == [{"role": "assistant", "content": "A cat on"}]
    speaker.pieces = (KeyboardInterrupt(),)
    assert scene.hear("Why?")
    assert len(scene.messages) == 2


def test_a_models_words_are_shown_as_they_are_but_do_not_steer_the_terminal() -> None:
    words = "[bold]x[/bold] :cat: \x1b[2Jgone\x07 \U0001f468\u200d\U0001f469 " + "long " * 9
    scene, out = talk(Script(words))
    scene.hear("What?")
    assert out.getvalue() == words.replace("\x1b", "").replace("\x07", "") + "\n"


def test_the_system_text_opens_every_conversation() -> None:
    speaker = Script("Yes.")
    scene, _ = talk(speaker, "Be brief.")
    scene.hear("A?")
    scene.hear("/reset")
    scene.hear("B?")
    opening = {"role": "system", "content": "Be brief."}
    assert [heard[0] for heard in speaker.heard] == [opening, opening]
    assert [len(heard) for heard in speaker.heard] == [2, 2]


@pytest.fixture
def endless(model: Path, tmp_path: Path) -> Path:
    """The model with an end of text that is never the likeliest token."""
    opened = checkpoint.load(model)
    built = opened.model()
    built.llm.model.lm_head.weight[built.llm.tokenizer.eos_token_id] = 0
    return checkpoint.save(tmp_path / "01-align-000001", built, opened.run)


@pytest.mark.slow
def test_in_a_terminal_the_first_ctrl_c_stops_an_answer_and_the_second_leaves(
    endless: Path,
) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "isthmus", "chat", "--model", str(endless), "--device", "cpu"]
    settings = ["--max-new-tokens", "100000"]
    process = subprocess.Popen(
        [*command, *settings],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "dumb", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        read_until(ours, b"> ")
        os.write(ours, b"Hello\n")
        read_until(ours, b"Hello\r\n")
        time.sleep(1)
        os.kill(process.pid, signal.SIGINT)
        read_until(ours, b"(stopped)\r\n> ")
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(terminal: int, words: bytes) -> None:
    """Read what the terminal shows until these words come."""
    seen = b""
    while words not in seen:
        try:
            seen += os.read(terminal, 4096)
        except OSError:
            pytest.fail(f"it left before it said {words!r}: {seen.decode(errors='replace')}")
