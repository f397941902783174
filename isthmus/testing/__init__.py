"""For authors of parts: a conformance kit, and tiny parts to try one's own beside.

    from isthmus.testing import check_connector

    def test_my_connector():
        check_connector(MyConnector.Config(queries=8))

Each check takes the configuration of a part, builds it, and raises `ContractBroken` with what
it did, what was promised, and where the promise is written. No network and no GPU are needed.
"""

from isthmus.testing.benchmark import check_benchmark
from isthmus.testing.chat_model import check_chat_model
from isthmus.testing.connector import check_connector
from isthmus.testing.encoder import check_encoder
from isthmus.testing.llm import check_llm
from isthmus.testing.objective import check_objective
from isthmus.testing.promises import ContractBroken
from isthmus.testing.recipe import check_recipe
from isthmus.testing.source import check_source
from isthmus.testing.template import check_template
from isthmus.testing.text_encoder import check_text_encoder
from isthmus.testing.tiny import (
    tiny_connector,
    tiny_encoder_config,
    tiny_llm_config,
    tiny_model_config,
    tiny_pictures,
    tiny_samples,
    tiny_template,
    tiny_texts,
    tiny_tokenizer,
)
from isthmus.testing.tuner import check_tuner

__all__ = [
    "ContractBroken",
    "check_benchmark",
    "check_chat_model",
    "check_connector",
    "check_encoder",
    "check_llm",
    "check_objective",
    "check_recipe",
    "check_source",
    "check_template",
    "check_text_encoder",
    "check_tuner",
    "tiny_connector",
    "tiny_encoder_config",
    "tiny_llm_config",
    "tiny_model_config",
    "tiny_pictures",
    "tiny_samples",
    "tiny_template",
    "tiny_texts",
    "tiny_tokenizer",
]
