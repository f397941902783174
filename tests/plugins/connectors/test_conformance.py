"""Every connector that is registered here passes the public kit, as it comes and otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.core.config import validate_part
from isthmus.core.contracts import runtime_arguments
from isthmus.registry import get_registry
from isthmus.testing import check_connector, tiny_tokenizer

SMALL = {"dim": 32, "layers": 3, "heads": 4, "hidden": 48, "queries": 5}
READS = SMALL | {"tokenizer": {"vocab_size": 300}}

ALSO: dict[str, list[dict[str, Any]]] = {
    "linear": [{"bias": False}],
    "mlp": [{"depth": 4}],
    "pixel_shuffle": [{"factor": 1}, {"factor": 3}],
    "pool": [{"side": 1}, {"side": 5, "depth": 1}],
    "c_abstractor": [{"dim": 16}, {"dim": 24, "side": 3, "blocks": 1}],
    "cross_attention": [{"queries": 1, "heads": 3, "head_dim": 5}],
    "resampler": [{"queries": 3, "layers": 1, "frames": 2}],
    "qformer": [
        SMALL,
        SMALL | {"every": 1},
        READS | {"text": "instruction"},
        READS | {"text": "objective", "every": 3},
    ],
    "gated_cross_attention": [
        {"every": 1, "sees": "all"},
        {"every": 1, "states": {"type": "resampler", "queries": 3, "layers": 1}},
        {"states": {"type": "mlp"}},
    ],
}
"""Settings to try besides those that a part has by itself."""
TOO_LARGE = {"c_abstractor", "qformer"}
"""Parts that by themselves are of a published size."""
WIDTHS = {"identity": {"dim_in": 32, "dim_out": 32}}

REGISTRY = get_registry()
BUILT_IN = [e.name for e in REGISTRY.entries() if e.builtin and e.kind == "connector"]
CASES = [
    (name, fields)
    for name in BUILT_IN
    for fields in [*([] if name in TOO_LARGE else [{}]), *ALSO.get(name, [])]
]


@pytest.mark.parametrize(("name", "fields"), CASES, ids=str)
def test_it_conforms(name: str, fields: dict[str, Any]) -> None:
    config = validate_part("connector", {"type": name, **fields})
    given: dict[str, Any] = dict(WIDTHS.get(name, {}))
    if "tokenizer_object" in runtime_arguments(config.owner):
        given["tokenizer_object"] = tiny_tokenizer()
    check_connector(config, **given)
