"""Momentum distillation beside plain loops written from ALBEF's paper (arXiv:2107.07651)."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isthmus.core.config import create, validate_part
from isthmus.core.contracts import Images, Mixed
from isthmus.core.data.matches import Matches
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.core.model.momentum import Queue
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.testing import tiny_encoder_config, tiny_texts
from tests.plugins.objectives.matches import matches

RATE, SHARE = 0.9, 0.4
BERT = {
    **{"type": "bert", "dim": 32, "layers": 3, "heads": 4, "hidden": 48, "positions": 20},
    **{"cross": True, "alone": 1, "dropout": 0.0, "tokenizer": {"vocab_size": 300}},
}
TEXTS = [[1, 7, 8, 2], [1, 9, 11, 12, 2], [1, 4, 5, 6, 7, 13, 2]]


def albef(**fields: Any) -> tuple[VisionLanguageModel, Any]:
    """A model of encoder and BERT, and a mix of all three with momentum."""
    bert: Any = validate_part("text_encoder", BERT)
    parts = ModelConfig(encoder=tiny_encoder_config(select="cls_patch"), text_encoder=bert)
    model = build_model(parts, texts=tiny_texts)
    of = [{"type": "itc", "dim": 8}, {"type": "itm"}, {"type": "mlm", "share": 0.5}]
    momentum = {"rate": RATE, "share": SHARE, **fields}
    config: Any = validate_part("objective", {"type": "mix", "of": of, "momentum": momentum})
    torch.manual_seed(4)
    mix = config.build()
    mix.join(model)
    return model, mix.train()


def batch(seed: int, texts: list[list[int]] = TEXTS) -> Matches:
    torch.manual_seed(seed)
    pixels = torch.randint(256, (len(texts), 3, 32, 32), dtype=torch.uint8)
    grids = tiny_encoder_config(select="cls_patch").build().transform.grids((32, 32))
    keys = torch.arange(3 * len(texts)).reshape(3, -1).T + 100 * seed
    images = Images(pixels, (1,) * len(texts), (grids,) * len(texts))
    return matches(images, texts, keys)


def mixed(own: Matches) -> Mixed:
    return Mixed((own,) * 3)


@torch.no_grad()
def moved(model: nn.Module, seed: int) -> None:
    """As if an optimizer had taken a step."""
    torch.manual_seed(seed)
    for p in model.parameters():
        if p.requires_grad:
            p.add_(0.05 * torch.randn_like(p))


@torch.no_grad()
def vectors(model: Any, itc: Any, own: Matches) -> tuple[Tensor, Tensor]:
    """Pictures by their class token and texts by their first one, of length one."""
    seen = model.encoder(own.images).values.reshape(len(own.samples), -1, 24)[:, 0]
    read = torch.cat(
        [model.text_encoder(ids[real][None], real[real][None])[:, 0] for ids, real in rows(own)]
    )
    pairs = (itc.image(seen), itc.text(read))
    return tuple(x / x.norm(dim=1, keepdim=True) for x in pairs)  # type: ignore[return-value]


def rows(own: Matches) -> list[tuple[Tensor, Tensor]]:
    return list(zip(own.text.ids, own.text.mask, strict=True))


def soft_loss(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], kept: Any, scale: float
) -> Tensor:
    """ALBEF's equation 6 (less the entropy of its targets, which has no gradient), one row at a
    time; `kept` are the queue's pictures and texts."""
    pictures, texts = (torch.cat([own, more]) for own, more in zip(teacher, kept, strict=True))
    total = torch.zeros(())
    for own, taught, columns in (
        (student[0], teacher[0], texts),
        (student[1], teacher[1], pictures),
    ):
        for i in range(len(own)):
            likely = torch.softmax(torch.stack([scale * taught[i] @ c for c in columns]), 0)
            logs = torch.log_softmax(torch.stack([scale * own[i] @ c for c in columns]), 0)
            for j in range(len(columns)):
                target = SHARE * likely[j] + (1 - SHARE) * float(i == j)
                total = total - target * logs[j] / 2
    return total


def test_copies_are_the_running_mean_of_what_was_learnt():
    model, mix = albef()
    learnt = nn.ModuleList([model.encoder, model.text_encoder, mix.of["itc"], mix.of["mlm"]])
    copies = [copy.deepcopy(p.detach()) for p in learnt.parameters()]
    for step in range(4):
        moved(nn.ModuleList([learnt]), step)
        mix.after_step(model)
        copies = [
            RATE * m + (1 - RATE) * p for m, p in zip(copies, learnt.parameters(), strict=True)
        ]
    own = mix.momentum
    found = nn.ModuleList(
        [own.parts["encoder"], own.parts["text_encoder"], own.heads["itc"], own.heads["mlm"]]
    )
    for mine, wanted in zip(found.parameters(), copies, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-6)
    assert not any(p.requires_grad for p in own.parameters())
    assert int(own.steps) == 4


def test_copies_of_what_does_not_learn_keep_every_bit():
    model, mix = albef()
    frozen = model.text_encoder.bert.blocks[0].requires_grad_(False)
    before = [p.clone() for p in frozen.parameters()]
    for step in range(3):
        moved(model, step)
        mix.after_step(model)
    copied = mix.momentum.parts["text_encoder"].bert.blocks[0]
    assert all(torch.equal(*pair) for pair in zip(copied.parameters(), before, strict=True))


def test_contrast_learns_what_the_copies_find_likely_and_from_earlier_matches():
    model, mix = albef(queue=6)
    earlier = [batch(1), batch(2), batch(3)]
    kept: list[tuple[Tensor, Tensor]] = []
    for number, own in enumerate([*earlier, batch(4)]):
        moved(model, number)
        mix.after_step(model)
        itc, copied = mix.of["itc"], mix.momentum.heads["itc"]
        teacher = vectors(mix.momentum._model[0], copied, own)
        student = vectors(model, itc, own)
        last = kept[-2:]  # six matches
        queue = [torch.cat([x[side] for x in last] or [torch.zeros(0, 8)]) for side in range(2)]
        wanted = soft_loss(student, teacher, queue, float(itc.scale().detach()))
        loss = mix(model, mixed(own))
        torch.testing.assert_close(loss.sum[0].detach(), wanted, rtol=1e-5, atol=1e-5)
        kept.append(teacher)
    assert int(mix.momentum.queue.added) == 12


def test_masked_words_learn_what_the_copies_find_likely():
    model, mix = albef()
    moved(model, 0)
    mix.after_step(model)
    own, mlm = batch(1), mix.of["mlm"]
    torch.manual_seed(9)
    text, asked = mlm.hide(replace(own, memo=None))
    assert asked.sum(dim=1).tolist() == [1, 2, 2]  # half of 2, 3 and 5 words, to the even one
    teacher, total = mix.momentum._model[0], torch.zeros(())
    with torch.no_grad():
        for i in range(len(TEXTS)):
            real = own.text.mask[i]
            ids, one = text.ids[i][real][None], torch.ones_like(text.ids[i][real][None]).bool()
            words = []
            for part, head in ((model, mlm), (teacher, mix.momentum.heads["mlm"])):
                seen = part.encoder(own.images.take([i])).values[None]
                hidden = part.text_encoder(ids, one, seen)[0]
                words.append(head.head(hidden, part.text_encoder.words))
            for at in asked[i].nonzero()[:, 0].tolist():
                logs, likely = words[0][at].log_softmax(0), words[1][at].softmax(0)
                right = -logs[own.text.ids[i, at]]
                total = total + (1 - SHARE) * right - SHARE * (likely * logs).sum()
    torch.manual_seed(9)
    opened = replace(own, memo={"copies": mix.momentum.about(own)})
    loss = mlm(model, opened)
    torch.testing.assert_close(loss.sum.detach(), total, rtol=1e-5, atol=1e-5)
    assert loss.weight == 5.0 == mlm.weights(own)[0]


def test_share_of_the_copies_grows_from_none():
    model, mix = albef(warmup=4)
    shares = []
    for _ in range(6):
        shares.append(float(mix.momentum.about(batch(1)).share))
        mix.after_step(model)
    assert shares == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.4])


def test_validation_asks_no_copies():
    model, mix = albef(queue=6)
    moved(model, 0)
    mix.after_step(model)
    mix.eval()
    itc: Any = mix.of["itc"]
    alone = itc(model, batch(1)).sum
    torch.testing.assert_close(mix(model, mixed(batch(1))).sum[0], alone)
    assert int(mix.momentum.queue.added) == 0


def test_hidden_words_are_mostly_hidden_and_never_what_stands_around_a_text():
    model, _ = albef()
    mlm: Any = create("objective", "mlm", share=0.15)
    mlm.join(model)
    text = [[1, *range(5, 45), 2]]
    own = replace(batch(1, text * 200), keys=torch.arange(600).reshape(200, 3))
    given, asked = mlm.hide(own)
    assert asked.sum(dim=1).tolist() == [6] * 200
    assert not asked[:, 0].any()
    assert not asked[:, -1].any()
    assert torch.equal(given.ids[~asked], own.text.ids[~asked])
    hidden = (given.ids[asked] == model.text_encoder.tokenizer.pad_token_id).float().mean()
    kept = (given.ids[asked] == own.text.ids[asked]).float().mean()
    assert 0.76 < float(hidden) < 0.84
    assert 0.07 < float(kept) < 0.13


def test_queue_has_the_newest_in_the_place_of_the_oldest():
    queue = Queue(4, 1)
    for number in range(3):
        value = torch.full((2, 1), float(number))
        queue.add(value, -value, torch.full((2, 3), number))
        assert int(queue.real.sum()) == min(4, 2 * number + 2)
    assert queue.images[:, 0].tolist() == [2.0, 2.0, 1.0, 1.0]
    assert queue.texts[:, 0].tolist() == [-2.0, -2.0, -1.0, -1.0]


def test_a_trained_mix_answers_without_its_copies():
    model, mix = albef(queue=6)
    state = mix.state_dict()
    model.requires_grad_(False)
    again: Any = mix.config.build()
    again.join(model)
    assert again.momentum is None
    again.load_state_dict(state)
    assert torch.equal(again.of["itm"].head.weight, mix.of["itm"].head.weight)


def test_queue_of_pictures_that_have_several_vectors_is_refused():
    former: Any = validate_part(
        "connector", {"type": "qformer", "text": "objective", "tokenizer": {"vocab_size": 300}}
    )
    parts = {"encoder": tiny_encoder_config(), "connector": former}
    of = ["itc", "itm"]
    for momentum, wrong in (({"queue": 8}, 1), ({}, 0)):
        fields = {"type": "mix", "of": of, "momentum": momentum}
        config: Any = validate_part("objective", fields)
        found = list(config.objections(parts))
        assert len(found) == wrong
        assert all("leave `queue` out" in why for why in found)
