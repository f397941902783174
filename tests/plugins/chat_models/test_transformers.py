"""`transformers`: a local model, against transformers' own generation one prompt at a time."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from isthmus.core.chat import Keys
from isthmus.core.config import create
from isthmus.core.contracts import ChatModel, ChatParameters, ChatRequest, Turn
from isthmus.errors import InputError, PartError
from isthmus.plugins.chat_models.transformers import _draw
from isthmus.testing import check_chat_model
from tests.core.chat.talks import settle
from tests.plugins.chat_models.local import save_tiny_chat

WORDS = ("Hi", "What is in the picture?", "A red dog, a cat and a house", "boat", "\ud800 lone")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-chat")
    save_tiny_chat(folder)
    return folder


def local(folder: Path, **fields: Any) -> ChatModel:
    model: ChatModel = create("chat_model", "transformers", model=str(folder), **fields)
    return model


def asked(**parameters: Any) -> list[ChatRequest]:
    settings = ChatParameters(**{"max_tokens": 12, **parameters})
    return [
        ChatRequest(words[:2], (Turn("user", (words,)),), parameters=settings) for words in WORDS
    ]


def test_a_batch_answers_as_transformers_does_one_by_one(folder: Path, tmp_path: Path) -> None:
    own, tokenizer = save_tiny_chat(tmp_path / "own"), AutoTokenizer.from_pretrained(folder)
    for size in (1, 2, 5):
        given = settle(local(folder, batch_size=size), asked(), tmp_path / f"{size}.sqlite")
        for request in asked():
            words = (
                request.turns[0].text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            )
            ids = tokenizer.encode(
                f"<s>user: {words}</s><s>assistant: ", add_special_tokens=False, return_tensors="pt"
            )
            with torch.no_grad():
                whole = own.generate(ids, max_new_tokens=12, do_sample=False)[0]
            new = whole[ids.shape[1] :].tolist()
            ended = new[-1] == tokenizer.eos_token_id
            new = new[: len(new) - ended]
            reply = given[request.id].reply
            assert reply is not None
            assert reply.text == tokenizer.decode(new, skip_special_tokens=True).strip()
            assert reply.finish == ("stop" if ended else "length")
            assert reply.spent == (ids.shape[1], len(new))


def test_a_draw_follows_from_request_and_seed_and_not_from_its_neighbours(
    folder: Path, tmp_path: Path
) -> None:
    texts = []
    for name, size, seed in (("a", 1, 0), ("b", 5, 0), ("c", 5, 1)):
        drawn = asked(temperature=1.5, top_p=0.9, seed=seed)
        given = settle(local(folder, batch_size=size), drawn, tmp_path / f"{name}.sqlite")
        texts.append({id: o.reply.text for id, o in given.items() if o.reply})
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    """Against the softmax, by hand: 0.5, 0.3, 0.15 and 0.05; `top_p` 0.8 leaves the first two."""
    scores = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().expand(20_000, -1)
    for top_p, shares in ((None, (0.5, 0.3, 0.15, 0.05)), (0.8, (0.625, 0.375, 0, 0))):
        process = _draw(ChatParameters(temperature=1.0, top_p=top_p), range(20_000))
        counts = Counter(process(None, scores).argmax(dim=-1).tolist())
        for token, share in enumerate(shares):
            assert counts[token] / 20_000 == pytest.approx(share, abs=0.015)


def test_turns_that_the_template_does_not_take_are_refused_alone(
    folder: Path, tmp_path: Path
) -> None:
    odd = ChatRequest("odd", (Turn("tool", ("x",)),))  # type: ignore[arg-type]
    given = settle(local(folder), [odd, *asked()], tmp_path / "j.sqlite")
    assert given.pop("odd").reason == "the chat template does not take these turns: no tools"
    assert all(settled.reply for settled in given.values())


def test_a_model_that_was_not_taught_to_answer_is_refused(tmp_path: Path) -> None:
    save_tiny_chat(tmp_path / "base", template=None)
    with pytest.raises(PartError, match="has no chat template, so it was not taught to answer"):
        settle(local(tmp_path / "base"), asked(), tmp_path / "j.sqlite")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        settle(local(tmp_path / "nowhere"), asked(), tmp_path / "j.sqlite")


def test_it_keeps_the_contract(folder: Path) -> None:
    check_chat_model(local(folder).config)


def test_a_folder_is_known_by_its_weights_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    moved, other = tmp_path / folder.name, tmp_path / "other" / folder.name
    shutil.copytree(folder, moved)
    shutil.copytree(folder, other)
    weights = other / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-100] ^= 1
    weights.write_bytes(content)
    keys = [Keys(local(place)).of(asked()[0]) for place in (folder, moved, other)]
    assert keys[0] == keys[1] != keys[2]
