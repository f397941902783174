"""transformers' configurations, written out and read back; published ones and their faults are
tested where the parts are."""

from __future__ import annotations

import io
from typing import Any

import pytest
from huggingface_hub import utils as hub
from transformers import CLIPVisionConfig, Gemma3TextConfig, LlamaConfig, Phi3Config, Qwen3MoeConfig
from transformers.utils import logging

from isthmus.core.config import dump
from isthmus.core.model.pretrained import VOLATILE, label, quiet, scratch_config, written_out
from isthmus.errors import PartError
from isthmus.plugins.encoders.clip import Clip
from isthmus.plugins.llms.causal import Causal

PART = Causal.Config(config={})
CONFIGS = [
    LlamaConfig(hidden_size=32, num_attention_heads=4, rope_theta=5e5),
    CLIPVisionConfig(hidden_size=32, num_attention_heads=4),
    Gemma3TextConfig(hidden_size=32, num_hidden_layers=3, sliding_window=7),
    Phi3Config(hidden_size=32, num_attention_heads=4, num_key_value_heads=2),
    Qwen3MoeConfig(hidden_size=32, head_dim=8),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_a_configuration_written_out_is_read_back_the_same(config: Any) -> None:
    plain = written_out(config)
    again = scratch_config(
        PART, type(config), {k: v for k, v in plain.items() if k != "model_type"}
    )
    kept = {key: value for key, value in config.to_dict().items() if key not in VOLATILE}
    assert {key: again.to_dict()[key] for key in kept} == kept


def test_it_is_plain_enough_for_yaml() -> None:
    part = Causal.Config(config={"model_type": "llama", **written_out(CONFIGS[0])})
    assert "rope_parameters" in dump(part)


def test_keys_that_a_published_config_carries_and_nothing_reads_are_left_out() -> None:
    config = LlamaConfig(max_sequence_length=2048, hidden_size=32, num_attention_heads=4)
    assert config.max_sequence_length == 2048
    assert "max_sequence_length" not in written_out(config)


def test_a_key_that_only_the_models_source_reads_is_kept() -> None:
    assert "head_dim" not in Qwen3MoeConfig().to_dict()
    assert written_out(CONFIGS[-1])["head_dim"] == 8


@pytest.mark.parametrize("key", ["hiden_size", "num_layers", "dim"])
def test_a_key_that_nothing_reads_is_refused(key: str) -> None:
    with pytest.raises(PartError, match=rf"llm causal: config: LlamaConfig has no key '{key}'"):
        scratch_config(PART, LlamaConfig, {key: 3})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def bars(terminal: io.StringIO) -> tuple[str, str]:
    """What a bar of a download and one of loading leave on this terminal."""
    shown = []
    for bar in (hub.tqdm, logging.tqdm):
        with bar(total=13, disable=None, file=terminal) as progress:
            progress.update(13)
        shown.append(terminal.getvalue())
        terminal.seek(0)
        terminal.truncate()
    return shown[0], shown[1]


def test_downloads_show_their_bar_on_a_terminal_and_loading_does_not() -> None:
    with quiet():
        download, loading = bars(Terminal())
        assert "13/13" in download
        assert loading == ""
        assert bars(io.StringIO()) == ("", "")
    assert logging.is_progress_bar_enabled()


def test_bars_of_downloads_that_were_switched_off_stay_off() -> None:
    hub.disable_progress_bars()
    try:
        with quiet():
            assert bars(Terminal()) == ("", "")
        assert hub.are_progress_bars_disabled()
    finally:
        hub.enable_progress_bars()


def test_messages_begin_with_the_part() -> None:
    assert label(Clip.Config(config={})) == "encoder clip"
