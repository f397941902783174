"""isthmus joins any vision encoder to any language model.

The public API. Nothing is imported before it is asked for, so that `import isthmus` is
light and plugins can say `from isthmus import hookimpl` while isthmus itself is loading.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isthmus.core.assistant import load
    from isthmus.core.config import create
    from isthmus.core.contracts import (
        LLM,
        AnyConnector,
        Batch,
        BatchChatModel,
        Benchmark,
        CausalLLM,
        ChatModel,
        ChatParameters,
        ChatReply,
        ChatRequest,
        CheckpointSaved,
        Config,
        Connector,
        ConnectorText,
        ControlSpan,
        CrossAttentionConnector,
        CrossAttentionStates,
        DataPath,
        Encoder,
        Evaluated,
        Events,
        Features,
        Grid,
        Grids,
        HandOver,
        Id,
        Images,
        ImageSlot,
        ImageSpan,
        ImageTransform,
        JudgedBenchmark,
        Loss,
        NoStart,
        Objective,
        Outcome,
        Pack,
        Pairs,
        ParameterGroup,
        Part,
        PartConfig,
        Picture,
        Preparer,
        QueryConnector,
        Question,
        Reply,
        Role,
        Sample,
        Segments,
        Seq2SeqLLM,
        Source,
        Span,
        StageEnded,
        StageStarted,
        StepEnded,
        Template,
        TextEncoder,
        TextSpan,
        Tools,
        Totals,
        Tuner,
        Turn,
        percent,
        quoted,
    )
    from isthmus.core.train.run import run
    from isthmus.errors import (
        ChatBroken,
        ChatFailure,
        ChatOverloaded,
        ChatRefused,
        ChatUnreachable,
        ChatUnusable,
        CheckpointError,
        ConfigError,
        DataError,
        ImageError,
        InputError,
        IsthmusError,
        PartError,
        WorkError,
    )
    from isthmus.registry import hookimpl

    __version__: str

_HOME = {
    "ChatBroken": "isthmus.errors",
    "ChatFailure": "isthmus.errors",
    "ChatOverloaded": "isthmus.errors",
    "ChatRefused": "isthmus.errors",
    "ChatUnreachable": "isthmus.errors",
    "ChatUnusable": "isthmus.errors",
    "CheckpointError": "isthmus.errors",
    "ConfigError": "isthmus.errors",
    "DataError": "isthmus.errors",
    "ImageError": "isthmus.errors",
    "InputError": "isthmus.errors",
    "IsthmusError": "isthmus.errors",
    "PartError": "isthmus.errors",
    "WorkError": "isthmus.errors",
    "create": "isthmus.core.config",
    "hookimpl": "isthmus.registry",
    "load": "isthmus.core.assistant",
    "run": "isthmus.core.train.run",
}
"""Where a public name lives; those not listed are contracts."""

__all__ = [
    "LLM",
    "AnyConnector",
    "Batch",
    "BatchChatModel",
    "Benchmark",
    "CausalLLM",
    "ChatBroken",
    "ChatFailure",
    "ChatModel",
    "ChatOverloaded",
    "ChatParameters",
    "ChatRefused",
    "ChatReply",
    "ChatRequest",
    "ChatUnreachable",
    "ChatUnusable",
    "CheckpointError",
    "CheckpointSaved",
    "Config",
    "ConfigError",
    "Connector",
    "ConnectorText",
    "ControlSpan",
    "CrossAttentionConnector",
    "CrossAttentionStates",
    "DataError",
    "DataPath",
    "Encoder",
    "Evaluated",
    "Events",
    "Features",
    "Grid",
    "Grids",
    "HandOver",
    "Id",
    "ImageError",
    "ImageSlot",
    "ImageSpan",
    "ImageTransform",
    "Images",
    "InputError",
    "IsthmusError",
    "JudgedBenchmark",
    "Loss",
    "NoStart",
    "Objective",
    "Outcome",
    "Pack",
    "Pairs",
    "ParameterGroup",
    "Part",
    "PartConfig",
    "PartError",
    "Picture",
    "Preparer",
    "QueryConnector",
    "Question",
    "Reply",
    "Role",
    "Sample",
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
    "Tools",
    "Totals",
    "Tuner",
    "Turn",
    "WorkError",
    "__version__",
    "create",
    "hookimpl",
    "load",
    "percent",
    "quoted",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'isthmus' has no attribute {name!r}")
    if name == "__version__":
        from isthmus.registry.entry_points import own_version

        return own_version()
    home = importlib.import_module(_HOME.get(name, "isthmus.core.contracts"))
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
