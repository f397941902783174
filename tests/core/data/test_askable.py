"""A question that cannot be asked is named before anybody is asked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from isthmus.core.contracts import Benchmark, Outcome, Question
from isthmus.core.data.askable import askable
from isthmus.errors import DataError


class Album(Benchmark, name="album"):
    """Questions about pictures of a folder."""

    folder: Path | None = None

    @property
    def image_folder(self) -> Path | None:
        return self.folder

    def questions(self) -> Sequence[Question]:
        return ()

    def outcome(self, question: Question, reply: str) -> Outcome:
        return Outcome.of(reply, right=True)


@pytest.fixture
def album(tmp_path: Path) -> Album:
    made: Album = Album.Config().build()
    made.folder = tmp_path / "photos"
    made.folder.mkdir()
    Image.new("RGB", (3, 3)).save(made.folder / "a.png")
    (tmp_path / "secret.png").write_bytes((made.folder / "a.png").read_bytes())
    (made.folder / "no.png").write_bytes(b"no picture")
    os.symlink(tmp_path / "secret.png", made.folder / "link.png")
    return made


def test_files_of_pictures_are_given_in_order(album: Album) -> None:
    folder = album.folder
    assert folder is not None
    asked = [Question(1, "?", ("a.png", "a.png")), Question(2, "Why?")]
    assert askable(album, asked) == [(folder / "a.png", folder / "a.png"), ()]


@pytest.mark.parametrize(
    ("question", "why"),
    [
        (Question(7, "?", ("nowhere.png",)), "question 7: .*nowhere.png: there is no such file"),
        (Question(7, "?", ("no.png",)), "no picture"),
        (Question(7, "?", ("../secret.png",)), "leaves the `images` folder"),
        (Question(7, "?", ("link.png",)), "a link that leaves"),
        (Question(7, " "), "question 7: it has no words to ask"),
        (Question("7", "a <image> and <image>", ("a.png",)), "2 times <image> for 1 images"),
        (Question(7, "half a character: \ud83d"), "cannot be written as UTF-8"),
    ],
)
def test_what_is_wrong_is_said(album: Album, question: Question, why: str) -> None:
    good = Question(1, "?", ("a.png",))
    with pytest.raises(DataError, match=f"album: 1 questions cannot be asked:\n.*{why}"):
        askable(album, [good, question])


def test_no_folder_and_no_question_are_said(album: Album) -> None:
    with pytest.raises(DataError, match="there is no question in it"):
        askable(album)
    album.folder = None
    assert askable(album, [Question(1, "?")]) == [()]
    with pytest.raises(DataError, match="it needs `images`, their folder"):
        askable(album, [Question(1, "?", ("a.png",))])
