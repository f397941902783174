"""What an answer says is read exactly, and never guessed."""

from __future__ import annotations

import pytest

from isthmus.core.data.answer_reading import (
    occurs,
    plain,
    read_choice,
    read_letter,
    read_number,
    read_yes_no,
)


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        (" B\n", "B"),
        ("B.", "B"),
        ("(B)", "B"),
        ("B. a whole sentence", "B"),
        ("(B) a whole sentence", "B"),
        ("The answer is B.", "B"),
        ("LECTURE: ...\nSOLUTION: ...\n The answer is B.", "B"),
        ("The answer is (B)", "B"),
        ("The answer is B. BECAUSE: A is wrong.", "B"),
        ("So the answer is C. The answer is C.", "C"),
        ("A. no\nThe answer is B.", "A"),
        ("The answer is A. No, the answer is B.", None),
        ("The answer is Boston.", None),
        ("B is the run-on sentence.", None),
        ("b", None),
        ("AB", None),
        ("A or B", None),
        ("FAILED", None),
        ("", None),
        ("Bread. And butter", None),
        ("\u0391", None),  # a Greek capital alpha
    ],
)
def test_letter_is_read_in_three_forms(reply: str, letter: str | None) -> None:
    assert read_letter(reply) == letter


def test_a_choice_is_one_that_there_is() -> None:
    assert [read_choice(letter, 2) for letter in "ABCZ"] == ["A", "B", None, None]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("Yes", "yes"),
        ("No, there is none.", "no"),
        ("Yes and no", None),
        ("There is a dog.", None),
        ("nothing yesterday", None),
    ],
)
def test_yes_and_no_are_words(reply: str, said: str | None) -> None:
    assert read_yes_no(reply) == said


def test_number_is_the_only_one() -> None:
    assert read_number("There are 1,250 of them.") == 1250
    assert read_number("-2.50") == -2.5
    assert [read_number("two"), read_number("2 or 3"), read_number("")] == [None] * 3


def test_plain_words_have_no_capitals_marks_and_spaces_to_spare() -> None:
    assert plain('  "The  Red,\nBUS!" ') == "the red bus"
    assert plain("t-shirt's") == "t-shirt's"
    assert plain(" ?! ") == ""


def test_words_occur_whole() -> None:
    assert occurs("red bus", "a red bus")
    assert occurs("red bus", "red bus")
    assert not occurs("red bus", "a tired bus")
    assert not occurs("cat", "a category")
