"""The Q-Former as a connector: out of published models' folders come their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from isthmus.core.contracts import ConnectorText, Features, Grid
from isthmus.errors import PartError
from isthmus.plugins.connectors.qformer import Qformer
from isthmus.testing import tiny_texts, tiny_tokenizer
from tests.oracles import alike
from tests.plugins.connectors.published_qformers import FAMILIES, built, save_published

VALUES = torch.randn(3, 17, 24, generator=torch.Generator().manual_seed(0))
FEATURES = Features(VALUES.flatten(0, 1), ((Grid(4, 4, prefix=1),),) * 3)
WORDS = ConnectorText.of([[5, 6, 7, 8], [9], [10, 11]])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    """Family -> its folder, and the model in it."""
    made = {name: tmp_path_factory.mktemp(name) for name in FAMILIES}
    return {name: (folder, save_published(name, folder)) for name, folder in made.items()}


def test_out_of_a_blip2_come_its_visual_tokens(folders) -> None:
    folder, theirs = folders["blip2"]
    queries = theirs.query_tokens.expand(3, -1, -1)
    found = theirs.qformer(query_embeds=queries, encoder_hidden_states=VALUES)
    wanted = theirs.language_projection(found.last_hidden_state)
    assert alike(built(folder)(FEATURES), wanted.flatten(0, 1))


def test_out_of_an_instructblip_come_its_visual_tokens(folders) -> None:
    folder, theirs = folders["instructblip"]
    ours = built(folder, text="instruction")
    found = theirs.qformer(
        input_ids=WORDS.ids,
        attention_mask=torch.cat([torch.ones(3, 5), WORDS.mask], dim=1).long(),
        query_embeds=theirs.query_tokens.expand(3, -1, -1),
        encoder_hidden_states=VALUES,
    )
    wanted = theirs.language_projection(found.last_hidden_state[:, :5])
    assert alike(ours(FEATURES, WORDS), wanted.flatten(0, 1))
    assert not alike(ours(FEATURES), wanted.flatten(0, 1))
    assert len(ours.tokenizer) == len(tiny_tokenizer())


def test_out_of_a_blip2_for_retrieval_come_its_queries_with_text(folders) -> None:
    folder, theirs = folders["retrieval"]
    ours = built(folder, text="instruction")
    both = theirs.embeddings(WORDS.ids, query_embeds=theirs.query_tokens.expand(3, -1, -1))
    found = theirs.qformer(
        query_embeds=both,
        query_length=5,
        attention_mask=torch.cat([torch.ones(3, 5), WORDS.mask], dim=1).long(),
        encoder_hidden_states=VALUES,
    ).last_hidden_state
    seen, read = ours.qformer.look_and_read((VALUES, None), WORDS)
    assert alike(seen, found[:, :5])
    assert alike(read[WORDS.mask], found[:, 5:][WORDS.mask])


def test_out_of_bert_come_all_its_weights_and_text_is_read_as_it_does(folders) -> None:
    folder, theirs = folders["bert"]
    ours = built(folder, text="objective")
    wanted = theirs(input_ids=WORDS.ids, attention_mask=WORDS.mask.long()).last_hidden_state
    assert alike(ours.qformer.read(WORDS)[WORDS.mask], wanted[WORDS.mask])
    for block in ours.qformer.blocks:  # queries begin with the same feed-forward layers
        for one, other in ((block.query, block.text), (block.query_norm, block.text_norm)):
            pairs = zip(one.parameters(), other.parameters(), strict=True)
            assert all(torch.equal(*pair) for pair in pairs)
    assert [block.cross is not None for block in ours.qformer.blocks] == [True, False, True]


def test_what_an_objective_uses_changes_no_visual_token(folders) -> None:
    folder, _ = folders["retrieval"]
    plain, able = built(folder), built(folder, text="objective")
    able.projection.load_state_dict(plain.projection.state_dict())
    assert plain.tokenizer is None
    assert alike(able(FEATURES, WORDS), plain(FEATURES))


def test_a_projection_to_another_width_is_drawn(folders) -> None:
    folder, theirs = folders["blip2"]
    config = Qformer.Config(model=str(folder), queries=5)
    wider = config.build(dim_in=24, dim_out=48)
    assert wider.projection.weight.shape == (48, 32)
    assert torch.equal(wider.qformer.queries, theirs.query_tokens[0])


def test_a_word_table_grows_by_the_mean_where_the_tokenizer_has_more(folders) -> None:
    folder, theirs = folders["bert"]
    more = tiny_tokenizer()
    more.add_tokens([f"<{number}>" for number in range(301 - len(more))])
    config = Qformer.Config(model=str(folder), queries=5, text="instruction")
    made = config.build(dim_in=24, dim_out=32, tokenizer_object=more)
    words = theirs.embeddings.word_embeddings.weight
    assert torch.equal(made.qformer.words.weight[:300], words)
    assert torch.allclose(made.qformer.words.weight[300], words.mean(dim=0))


def test_text_is_cut_to_the_positions_there_are(folders) -> None:
    ours = built(folders["bert"][0], text="instruction")
    assert ours.tokenizer.model_max_length == 20
    longest = ConnectorText.of([[5] * 20] * 3)
    assert ours(FEATURES, longest).isfinite().all()


@pytest.mark.parametrize(
    ("family", "fields", "place", "message"),
    [
        ("blip2", {"queries": 32}, ("queries",), "has 5, not 32; write `queries: 5`"),
        ("blip2", {"text": "instruction"}, ("text",), "no layers for text; write `text: none`"),
        ("blip2", {"layers": 3}, ("layers",), "comes with `model`"),
        ("bert", {"words": 3, "text": "objective"}, ("words",), "comes with `model`"),
        (None, {"text": "instruction"}, ("tokenizer",), "write `tokenizer: bert-base-uncased`"),
        (None, {"tokenizer": "bert-base-uncased"}, ("tokenizer",), "write `text: instruction`"),
        (None, {"words": 300}, ("words",), "write `text: instruction`"),
        (None, {"dim": 30, "heads": 4}, ("heads",), "4 heads cannot share 30 numbers"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_loaded(
    folders, family: str | None, fields: dict[str, Any], place: tuple[str], message: str
) -> None:
    model = str(folders[family][0]) if family else None
    problems = dict(Qformer.Config(**{"model": model, "queries": 5, **fields}).check())
    assert message in problems[place]


def test_a_folder_of_another_family_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    ((place, why),) = Qformer.Config(model=str(tmp_path)).check()
    assert place == ("model",)
    assert why == f"{tmp_path} is a 'vit' model; a Q-Former begins from bert, blip-2, instructblip"


def test_features_of_another_width_are_refused(folders) -> None:
    with pytest.raises(PartError, match="looks at features 24 wide, and the encoder's are 48"):
        built(folders["blip2"][0], dim_in=48)


def test_a_folder_that_lacks_weights_is_refused(folders, tmp_path: Path) -> None:
    _, theirs = folders["blip2"]
    kept = {k: v for k, v in theirs.state_dict().items() if "layer.1.attention.output" not in k}
    theirs.save_pretrained(tmp_path, state_dict=kept)
    with pytest.raises(PartError, match="lacks 4 of this Q-Former's weights"):
        built(tmp_path)


def test_its_own_tokenizer_is_trained_on_the_runs_text() -> None:
    config = Qformer.Config(
        dim=32, layers=1, heads=4, hidden=48, text="instruction", tokenizer={"vocab_size": 280}
    )
    made = config.build(dim_in=24, dim_out=32, texts=tiny_texts)
    assert len(made.tokenizer) == 280 == made.qformer.shape.words
