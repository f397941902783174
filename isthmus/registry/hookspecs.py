"""Every extension point of isthmus, on one page.

A plugin is a module with functions of these names, each marked `@hookimpl`. It is found by
an entry point of group `isthmus` whose value is the module:

    [project.entry-points.isthmus]
    my_parts = "my_package.parts"

The first eleven hooks offer parts: they are called once, with a function that takes a class.
The last five hear what a training run does, on its main process.

A verb of the command line comes by another group, whose names are read without importing
anything; the value is a typer function, or a typer app:

    [project.entry-points."isthmus.commands"]
    my_verb = "my_package.verb:main"
"""

from __future__ import annotations

from typing import Any, Protocol

import pluggy

PROJECT = "isthmus"
COMMANDS = "isthmus.commands"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

PART_HOOKS = {
    "encoder": "register_encoders",
    "connector": "register_connectors",
    "llm": "register_llms",
    "text_encoder": "register_text_encoders",
    "template": "register_templates",
    "source": "register_sources",
    "objective": "register_objectives",
    "tuner": "register_tuners",
    "benchmark": "register_benchmarks",
    "chat_model": "register_chat_models",
    "recipe": "register_recipes",
}
"""Kind of part -> the hook that offers parts of it."""

EVENT_HOOKS = (
    "stage_started",
    "step_ended",
    "evaluated",
    "checkpoint_saved",
    "stage_ended",
)
"""Hooks that hear a run; each event's fields are in `isthmus.core.contracts.events`."""


class Register(Protocol):
    """Takes one part: a concrete class of the hook's kind, with a name and a `Config`."""

    def __call__(self, part: type) -> None: ...


@hookspec
def register_encoders(register: Register) -> None:
    """Offer vision encoders: pixels in, features out.

    def register_encoders(register):
        register(MyVit)
    """


@hookspec
def register_connectors(register: Register) -> None:
    """Offer connectors: features in, visual tokens out.

    def register_connectors(register):
        register(MyResampler)
    """


@hookspec
def register_llms(register: Register) -> None:
    """Offer language models.

    def register_llms(register):
        register(MyStateSpaceModel)
    """


@hookspec
def register_text_encoders(register: Register) -> None:
    """Offer text encoders: the other tower of contrastive models.

    def register_text_encoders(register):
        register(MyTextTower)
    """


@hookspec
def register_templates(register: Register) -> None:
    """Offer templates: how a conversation is written out.

    def register_templates(register):
        register(MyChatFormat)
    """


@hookspec
def register_sources(register: Register) -> None:
    """Offer sources: where samples come from.

    def register_sources(register):
        register(MyDatabase)
    """


@hookspec
def register_objectives(register: Register) -> None:
    """Offer objectives: what a stage learns.

    def register_objectives(register):
        register(MyContrastiveLoss)
    """


@hookspec
def register_tuners(register: Register) -> None:
    """Offer tuners: which parameters of a part a stage trains, and how.

    def register_tuners(register):
        register(MyAdapters)
    """


@hookspec
def register_benchmarks(register: Register) -> None:
    """Offer benchmarks: questions, and what answers to them are worth.

    def register_benchmarks(register):
        register(MyExam)
    """


@hookspec
def register_chat_models(register: Register) -> None:
    """Offer chat models: who is asked as a teacher, a judge, or about images.

    def register_chat_models(register):
        register(MyEndpoint)
    """


@hookspec
def register_recipes(register: Register) -> None:
    """Offer recipes: what a teacher is asked about a scene, and how its reply becomes a sample.

    def register_recipes(register):
        register(MyRiddles)
    """


@hookspec
def stage_started(event: Any) -> None:
    """Hear that a stage begins (`StageStarted`).

    def stage_started(event):
        print(event.stage, event.steps)
    """


@hookspec
def step_ended(event: Any) -> None:
    """Hear of each optimizer step (`StepEnded`).

    def step_ended(event):
        dashboard.add(event.step, event.loss)
    """


@hookspec
def evaluated(event: Any) -> None:
    """Hear a stage's validation (`Evaluated`).

    def evaluated(event):
        dashboard.add(event.step, **event.metrics)
    """


@hookspec
def checkpoint_saved(event: Any) -> None:
    """Hear that a whole checkpoint stands in a folder (`CheckpointSaved`).

    def checkpoint_saved(event):
        upload(event.folder)
    """


@hookspec
def stage_ended(event: Any) -> None:
    """Hear that a stage is done (`StageEnded`).

    def stage_ended(event):
        notify(f"{event.stage} took {event.seconds:.0f} s")
    """
