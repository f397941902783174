"""What training must know to go on exactly where it stopped, as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from isthmus.errors import CheckpointError


@dataclass(frozen=True)
class TrainerState:
    """Where a run stands. Everything in it is JSON, and none of it depends on how many
    processes ran.

    `index` counts stages from 0, `step` the optimizer steps done in that stage, `finished`
    says that the stage is over; `data` is the data's position, and `fingerprints` names the
    data it was read from. `extra` is the engine's own. `versions` and `plugins` are filled in
    by `save`.
    """

    stage: str
    index: int
    step: int
    finished: bool = False
    data: Mapping[str, Any] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    plugins: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Text that `from_json` reads back; NaN is refused, since it is not JSON."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str, where: str) -> TrainerState:
        """Read it back; `where` names the file in messages."""
        try:
            values = json.loads(text)
            known = {each.name for each in fields(TrainerState)}
            return TrainerState(**{key: values[key] for key in known & values.keys()})
        except (ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{where}: not the state of a run ({error})") from error
