"""BLIP-2's three objectives beside transformers' scores, and beside plain loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import Blip2Config, Blip2ForImageTextRetrieval

from isthmus.core.config import create, validate_part
from isthmus.core.contracts import Features, Grid, Images, Mixed
from isthmus.core.data.matches import SIMILARITIES, Matches, shared
from isthmus.core.model.contrast import Everyone, best, unit
from isthmus.core.model.match_reader import looked, picture
from isthmus.core.model.mining import draw, gumbel
from isthmus.plugins.objectives.itm import ImageTextMatching
from isthmus.testing import tiny_tokenizer
from tests.oracles import VISION, shifted
from tests.plugins.connectors.published_qformers import BERT as PUBLISHED
from tests.plugins.objectives.matches import matches, model_of

BERT = PUBLISHED | {"use_qformer_text_input": True}
TEXT = {"model_type": "opt", "hidden_size": 16, "num_hidden_layers": 1, "vocab_size": 300}
QUERIES, FEATURES = 5, 17
TEXTS = [[1, 7, 8, 2], [1, 9, 2], [1, 4, 5, 6, 7, 2], [1, 8, 2]]


@pytest.fixture(scope="module")
def whole() -> Blip2ForImageTextRetrieval:
    torch.manual_seed(0)
    config = Blip2Config(
        vision_config=VISION | {"num_hidden_layers": 1},
        text_config=TEXT,
        qformer_config=BERT,
        num_query_tokens=QUERIES,
        image_text_hidden_size=12,
    )
    return shifted(Blip2ForImageTextRetrieval(config), 0.1).eval()


@pytest.fixture(scope="module")
def folder(whole: Blip2ForImageTextRetrieval, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("blip2")
    whole.save_pretrained(place)
    return place


class Given(nn.Module):
    """An encoder whose features were computed before."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = values

    def forward(self, images: Images) -> Features:
        grids = ((Grid(1, self.values.shape[1]),),) * len(self.values)
        return Features(self.values.flatten(0, 1), grids)


def connector(**fields: Any) -> Any:
    part: Any = validate_part("connector", {"type": "qformer", "text": "objective"} | fields)
    torch.manual_seed(3)
    return part.build(dim_in=24, dim_out=None, tokenizer_object=tiny_tokenizer())


def scratch() -> Any:
    sizes = {"dim": 32, "layers": 3, "heads": 4, "hidden": 56, "positions": 20}
    return connector(queries=QUERIES, tokenizer={"vocab_size": 300}, dropout=0.0, **sizes)


def batch(texts: list[list[int]] = TEXTS, keys: Tensor | None = None) -> Matches:
    count = len(texts)
    nothing = Images(torch.zeros(count, 3, 1, 1, dtype=torch.uint8), (1,) * count, ())
    return matches(nothing, texts, keys)


def joined(name: str, model: Any, **fields: Any) -> Any:
    torch.manual_seed(4)
    objective: Any = create("objective", name, **fields)
    objective.join(model)
    return objective.eval()


@pytest.fixture
def seen() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(4, FEATURES, 24)


def test_contrast_has_the_scores_of_transformers(whole: Blip2ForImageTextRetrieval, folder: Path):
    torch.manual_seed(2)
    pixels = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        features = whole.vision_model(pixels)[0]
    model = model_of(
        Given(features), connector=connector(model=str(folder), queries=QUERIES).eval()
    )
    itc = joined("itc", model, dim=12)
    itc.image.load_state_dict(whole.vision_projection.state_dict())
    itc.text.load_state_dict(whole.text_projection.state_dict())
    given = batch()
    with torch.no_grad():
        wanted = whole(pixels, given.text.ids, given.text.mask.long()).logits_per_image
        opened = shared(given)
        itc(model, opened)
        by_image, by_text = opened.left(SIMILARITIES)
    scale = float(itc.scale().detach())
    torch.testing.assert_close(by_image / scale, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(by_text / scale, wanted.T, rtol=1e-5, atol=1e-5)
    loss = itc(model, given)
    cross = nn.functional.cross_entropy
    right = torch.arange(4)
    mean = (cross(scale * wanted, right) + cross(scale * wanted.T, right)) / 2
    torch.testing.assert_close(loss.sum / loss.weight, mean, rtol=1e-5, atol=1e-5)


def test_matching_has_the_scores_of_transformers(whole: Blip2ForImageTextRetrieval, folder: Path):
    torch.manual_seed(2)
    pixels = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        features = whole.vision_model(pixels)[0]
        model = model_of(
            Given(features), connector=connector(model=str(folder), queries=QUERIES).eval()
        )
        itm = joined("itm", model)
        itm.head.load_state_dict(whole.itm_head.state_dict())
        given = batch()
        wanted = whole(
            pixels, given.text.ids, given.text.mask.long(), use_image_text_matching_head=True
        ).logits_per_image
        found = itm.logits(model, picture(model, given), given.text)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_matching_asks_every_pair_with_the_negatives_that_were_drawn(seen: Tensor):
    model = model_of(Given(seen), connector=scratch().eval())
    itm, given = joined("itm", model), batch()
    everyone = Everyone.of(given.keys, counted=True)
    texts, pictures, has = itm._negatives(everyone, None)
    assert has.all()
    total, right = 0.0, 0.0
    for i in range(4):
        asked = ((i, i, 1), (i, int(texts[i]), 0), (int(pictures[i]), i, 0))
        for image, text, answer in asked:
            alone = model_of(Given(seen[[image]]), connector=model.connector)
            one = batch([TEXTS[text]])
            logits = itm.logits(alone, picture(alone, one), one.text)[0].detach()
            total -= float(torch.log_softmax(logits, 0)[answer]) / 3
            right += float(logits.argmax() == answer) / 3
    loss = itm(model, given)
    assert float(loss.sum.detach()) == pytest.approx(total, rel=1e-5)
    assert float(loss.metrics["accuracy"]) == pytest.approx(right, rel=1e-5)
    assert loss.weight == 4


def test_negatives_come_as_often_as_their_similarity_says():
    logits = torch.tensor([[0.0, 2.0, 1.0, 5.0]])
    allowed = torch.tensor([[False, True, True, True]])
    keys = torch.tensor([11, 22, 33, 44])
    counts = torch.zeros(4)
    for salt in range(4000):
        noise = gumbel(keys[:1], keys, torch.tensor(salt * 7919))
        counts[draw(logits, allowed, noise)[0]] += 1
    wanted = torch.softmax(torch.tensor([-torch.inf, 2.0, 1.0, 5.0]), 0)
    assert torch.allclose(counts / 4000, wanted, atol=0.02)


def test_pair_without_a_negative_is_asked_as_it_is():
    keys = torch.tensor([[5, 1, 0], [5, 2, 1]])
    torch.manual_seed(1)
    model = model_of(Given(torch.randn(2, FEATURES, 24)), connector=scratch().eval())
    itm, given = joined("itm", model), batch(TEXTS[:2], keys)
    logits = itm.logits(model, picture(model, given), given.text)
    wanted = -torch.log_softmax(logits, 1)[:, 1].sum()
    torch.testing.assert_close(itm(model, given).sum, wanted, rtol=1e-5, atol=1e-6)


def test_training_draws_other_negatives_every_time_and_validation_the_same(seen: Tensor):
    model = model_of(Given(seen), connector=scratch().eval())
    itm: ImageTextMatching = joined("itm", model)
    everyone = Everyone.of(batch().keys, counted=True)
    once, again = (itm._negatives(everyone, None)[0] for _ in range(2))
    assert once.equal(again)
    itm.train()
    drawn = {tuple(itm._negatives(everyone, None)[0].tolist()) for _ in range(20)}
    assert len(drawn) > 5


def test_contrast_is_of_the_query_that_fits_best():
    images, texts = torch.randn(3, 4, 6), torch.randn(2, 6)
    found = best(unit(images), unit(texts))
    for i in range(3):
        for j in range(2):
            products = [float(unit(images[i, q]) @ unit(texts[j])) for q in range(4)]
            assert float(found[i, j]) == pytest.approx(max(products), abs=1e-6)


def plain_generation(model: Any, itg: Any, seen: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The paper's third mask, written out: queries see queries, a token sees the queries and what
    stands up to it. One match and one row at a time, through layers that know no mask."""
    former = model.connector.qformer
    total, rows = torch.zeros(()), []
    for features, text in zip(seen, TEXTS, strict=True):
        asking = former.norm(former.queries)
        ids = torch.tensor([itg.start, *text[1:]])
        reading = former.norm(former.words(ids) + former.positions(torch.arange(len(ids))))
        hidden = torch.cat([asking, reading])
        for block in former.blocks:
            found = []
            for row in range(len(hidden)):
                allowed = QUERIES if row < QUERIES else row + 1
                seen_rows = hidden[:allowed][None]
                found.append(block.attention(hidden[row][None, None], seen_rows)[0, 0])
            hidden = block.attention_norm(hidden + torch.stack(found))
            asking, reading = hidden[:QUERIES], hidden[QUERIES:]
            if block.cross is not None:
                asking = block.cross_norm(asking + block.cross(asking[None], features[None])[0])
            asking = block.query_norm(asking + block.query(asking))
            reading = block.text_norm(reading + block.text(reading))
            hidden = torch.cat([asking, reading])
        layer = itg.head
        logits = layer.norm(nn.functional.gelu(layer.layer(hidden[QUERIES:-1])))
        logits = logits @ former.words.weight.T + layer.bias
        rows.append(logits)
        for row, target in zip(logits, text[1:], strict=True):
            total = total - torch.log_softmax(row, 0)[target]
    return total, rows


def test_generation_is_the_papers_mask_word_by_word(seen: Tensor):
    model = model_of(Given(seen), connector=scratch())
    itg, given = joined("itg", model), batch()
    total, _ = plain_generation(model, itg, seen)
    loss = itg(model, given)
    torch.testing.assert_close(loss.sum, total, rtol=1e-5, atol=1e-5)
    assert itg.weights(given) == (sum(len(text) - 1 for text in TEXTS),)
    learning = [p for p in model.connector.parameters() if p.requires_grad]
    ours = torch.autograd.grad(loss.sum, learning)
    theirs = torch.autograd.grad(total, learning, allow_unused=True)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(
            mine, torch.zeros_like(mine) if other is None else other, rtol=1e-4, atol=1e-4
        )


def test_mix_computes_the_queries_once_and_adds_up_by_weight(seen: Tensor):
    class Counting(Given):
        calls = 0

        def forward(self, images: Images) -> Features:
            Counting.calls += 1
            return super().forward(images)

    model = model_of(Counting(seen), connector=scratch().eval())
    of = [{"type": "itc", "dim": 8}, {"type": "itm"}, {"type": "itg", "weight": 0.5}]
    part: Any = validate_part("objective", {"type": "mix", "of": of})
    torch.manual_seed(4)
    mix = part.build()
    mix.join(model)
    mix.eval()
    given = batch()
    loss = mix(model, Mixed((given,) * 3))
    assert Counting.calls == 1
    assert mix.weights(Mixed((given,) * 3)) == loss.weight == (4.0, 4.0, 12.0)
    alone = [objective(model, given).sum for objective in mix.each]
    assert Counting.calls == 1 + 3  # once by each
    # Alone, matching knows no similarities: only the other two must agree.
    torch.testing.assert_close(loss.sum[0], alone[0])
    torch.testing.assert_close(loss.sum[2], 0.5 * alone[2])
    assert set(loss.metrics) == {
        *("itc_loss", "itc_image_to_text", "itc_text_to_image"),
        *("itm_loss", "itm_accuracy", "itg_loss", "itg_token_accuracy"),
    }
    assert loss.metrics["itg_loss"].tolist() == [0.0, 0.0, pytest.approx(float(alone[2].detach()))]
    queries, _ = looked(model, given)
    assert queries.shape == (4, QUERIES, 32)
