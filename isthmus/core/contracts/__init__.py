"""One file per kind of part: its abstract class, its Config base, its value types and shapes.

Nothing here knows the registry, YAML, a model family or a training loop.
"""

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
    EventList,
    Events,
    PartRow,
    StageEnded,
    StageStarted,
    StepEnded,
)
from isthmus.core.contracts.llm import LLM, CausalLLM, Segments, Seq2SeqLLM
from isthmus.core.contracts.objective import (
    Batch,
    Example,
    Loss,
    Objective,
    Pack,
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

__all__ = [
    "LLM",
    "VISUAL_SEEN",
    "VISUAL_STATES",
    "AnyConnector",
    "Batch",
    "CausalLLM",
    "CheckpointSaved",
    "Config",
    "Connector",
    "ConnectorText",
    "ControlSpan",
    "CrossAttentionConnector",
    "CrossAttentionStates",
    "DataPath",
    "Encoder",
    "Evaluated",
    "EventList",
    "Events",
    "Example",
    "FeatureStore",
    "Features",
    "Grid",
    "Grids",
    "HandOver",
    "ImageSlot",
    "ImageSpan",
    "ImageTransform",
    "Images",
    "Loss",
    "NoStart",
    "Objective",
    "Pack",
    "ParameterGroup",
    "Part",
    "PartConfig",
    "PartRow",
    "Picture",
    "Place",
    "Preparer",
    "QueryConnector",
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
    "TokenCount",
    "Tools",
    "Tuner",
    "Turn",
    "dump_part",
    "runtime_arguments",
]
