"""One file per kind of part: its abstract class, its Config base, its value types and shapes.

Nothing here knows the registry, YAML, a model family or a training loop. A name is imported
when it is asked for: who needs a benchmark or a source alone waits for no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isthmus.core.contracts.benchmark import (
        Benchmark,
        Id,
        Outcome,
        Question,
        Reply,
        Totals,
        percent,
    )
    from isthmus.core.contracts.chat_model import (
        BatchChatModel,
        ChatModel,
        ChatParameters,
        ChatReply,
        ChatRequest,
        Finish,
        Price,
    )
    from isthmus.core.contracts.connector import (
        VISUAL_SEEN,
        VISUAL_STATES,
        AnyConnector,
        Connector,
        ConnectorText,
        CrossAttentionConnector,
        QueryConnector,
    )
    from isthmus.core.contracts.conversation import ImageSlot, Picture, Role, Sample, Turn
    from isthmus.core.contracts.encoder import Encoder
    from isthmus.core.contracts.events import (
        CheckpointSaved,
        Evaluated,
        EvaluateDue,
        EventList,
        Events,
        PartRow,
        StageEnded,
        StageStarted,
        StepEnded,
    )
    from isthmus.core.contracts.judged_benchmark import JudgedBenchmark, quoted
    from isthmus.core.contracts.llm import LLM, CausalLLM, Segments, Seq2SeqLLM
    from isthmus.core.contracts.matcher import Matcher
    from isthmus.core.contracts.objective import (
        Batch,
        Example,
        Loss,
        Mixed,
        Objective,
        Pack,
        Pairs,
        Preparer,
        TokenCount,
        Tools,
    )
    from isthmus.core.contracts.part import (
        Config,
        DataPath,
        Part,
        PartConfig,
        Place,
        dump_part,
        runtime_arguments,
    )
    from isthmus.core.contracts.recipe import Exchange, Prompt, Recipe
    from isthmus.core.contracts.scene import Box, Brief, Instance, Scene
    from isthmus.core.contracts.source import Source
    from isthmus.core.contracts.template import (
        ControlSpan,
        ImageSpan,
        NoStart,
        Span,
        Template,
        TextSpan,
    )
    from isthmus.core.contracts.text_encoder import TextEncoder
    from isthmus.core.contracts.tuner import HandOver, ParameterGroup, Tuner
    from isthmus.core.contracts.vision import (
        CrossAttentionStates,
        Features,
        FeatureStore,
        Grid,
        Grids,
        Images,
        ImageTransform,
    )

_ROOMS = {
    "benchmark": "Benchmark Id Outcome Question Reply Totals percent",
    "chat_model": "BatchChatModel ChatModel ChatParameters ChatReply ChatRequest Finish Price",
    "connector": "VISUAL_SEEN VISUAL_STATES AnyConnector Connector ConnectorText "
    "CrossAttentionConnector QueryConnector",
    "conversation": "ImageSlot Picture Role Sample Turn",
    "encoder": "Encoder",
    "events": "CheckpointSaved EvaluateDue Evaluated EventList Events PartRow StageEnded "
    "StageStarted StepEnded",
    "judged_benchmark": "JudgedBenchmark quoted",
    "llm": "LLM CausalLLM Segments Seq2SeqLLM",
    "matcher": "Matcher",
    "objective": "Batch Example Loss Mixed Objective Pack Pairs Preparer TokenCount Tools",
    "part": "Config DataPath Part PartConfig Place dump_part runtime_arguments",
    "recipe": "Exchange Prompt Recipe",
    "scene": "Box Brief Instance Scene",
    "source": "Source",
    "template": "ControlSpan ImageSpan NoStart Span Template TextSpan",
    "text_encoder": "TextEncoder",
    "tuner": "HandOver ParameterGroup Tuner",
    "vision": "CrossAttentionStates FeatureStore Features Grid Grids ImageTransform Images",
}
"""Module -> the names that it has for the world."""

_HOME = {name: room for room, names in _ROOMS.items() for name in names.split()}

__all__ = [
    "LLM",
    "VISUAL_SEEN",
    "VISUAL_STATES",
    "AnyConnector",
    "Batch",
    "BatchChatModel",
    "Benchmark",
    "Box",
    "Brief",
    "CausalLLM",
    "ChatModel",
    "ChatParameters",
    "ChatReply",
    "ChatRequest",
    "CheckpointSaved",
    "Config",
    "Connector",
    "ConnectorText",
    "ControlSpan",
    "CrossAttentionConnector",
    "CrossAttentionStates",
    "DataPath",
    "Encoder",
    "EvaluateDue",
    "Evaluated",
    "EventList",
    "Events",
    "Example",
    "Exchange",
    "FeatureStore",
    "Features",
    "Finish",
    "Grid",
    "Grids",
    "HandOver",
    "Id",
    "ImageSlot",
    "ImageSpan",
    "ImageTransform",
    "Images",
    "Instance",
    "JudgedBenchmark",
    "Loss",
    "Matcher",
    "Mixed",
    "NoStart",
    "Objective",
    "Outcome",
    "Pack",
    "Pairs",
    "ParameterGroup",
    "Part",
    "PartConfig",
    "PartRow",
    "Picture",
    "Place",
    "Preparer",
    "Price",
    "Prompt",
    "QueryConnector",
    "Question",
    "Recipe",
    "Reply",
    "Role",
    "Sample",
    "Scene",
    "Segments",
    "Seq2SeqLLM",
    "Source",
    "Span",
    "StageEnded",
    "StageStarted",
    "StepEnded",
    "Template",
    "TextEncoder",
    "TextSpan",
    "TokenCount",
    "Tools",
    "Totals",
    "Tuner",
    "Turn",
    "dump_part",
    "percent",
    "quoted",
    "runtime_arguments",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
