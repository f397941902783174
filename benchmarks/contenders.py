"""Who takes the same optimizer step: HF Trainer four ways, TRL, and isthmus' own engine.

A contender trains over all samples once, in micro-batches of eight or in packs. Learning rates
are too small to move a weight, so that every step is the first one.
"""

from __future__ import annotations

import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from benchmarks.models import Preset, isthmus_model, parameters, transformers_model
from benchmarks.samples import Drawn, DrawnPreparer, DrawnSource, flattened, padded, rows
from benchmarks.workload import LONGEST, VISUAL
from isthmus.core.contracts import ParameterGroup
from isthmus.core.data.loader import StepLoader
from isthmus.core.data.mixture import Mixture
from isthmus.core.data.packed import PackedPlan
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.core.train.config import OptimizerConfig
from isthmus.core.train.engine import Engine, Root
from isthmus.core.train.optimizer import build_optimizer
from isthmus.core.train.parallel import Parallel
from isthmus.core.train.tuning import set_precision
from isthmus.plugins.objectives.lm import LanguageModelling

BATCH = 8
PACK = 4 * LONGEST
"""Tokens of a pack at 576 visual tokens a picture; fewer in proportion where those are."""


@dataclass(frozen=True)
class Task:
    """What everyone does: the samples, what is trained, where, in which arithmetic."""

    preset: Preset
    drawn: Sequence[Drawn]
    stage: int
    device: torch.device
    bf16: bool = False

    @property
    def tokens(self) -> int:
        """Real tokens of a step."""
        return sum(len(each.ids) for each in self.drawn)

    @property
    def pack(self) -> int:
        """Tokens of a pack at most."""
        return PACK * self.preset.visual // VISUAL


@dataclass
class Step:
    """One optimizer step: loss, what it took, and the gradient if asked for."""

    loss: float
    seconds: float
    gradient: list[Tensor] | None = None


class Contender(ABC):
    """Someone who can take the step. `missing` says why not, if so."""

    name: str
    missing: str = ""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.places = task.tokens
        """Tokens that a step executes, padding included."""

    @abstractmethod
    def step(self, gradient: bool = False) -> Step: ...

    def clock(self) -> float:
        """Seconds of CPU, or of the clock on the wall beside a GPU."""
        if self.task.device.type == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    def gradient(self, model: Any) -> list[Tensor]:
        """The gradient as it stands, in the order that all have in common."""
        learnt = parameters(model, self.task.stage)
        return [p.grad.detach().float().cpu().clone() for p in learnt if p.grad is not None]


class HuggingFace(Contender):
    """transformers' LLaVA under its Trainer. `further` are arguments of the Trainer's."""

    def __init__(
        self,
        task: Task,
        model: Any,
        name: str,
        collate: Callable[..., dict[str, Tensor]] = padded,
        **further: Any,
    ) -> None:
        super().__init__(task)
        self.model, self.name, self.lay_out, self.further = model, name, collate, further
        self.rows = rows(task.drawn)

    def step(self, gradient: bool = False) -> Step:
        from transformers import PrinterCallback, TrainerCallback

        self.places = 0
        seen: dict[str, Any] = {}

        class Watch(TrainerCallback):
            def on_train_begin(inner, *args: Any, **kwargs: Any) -> None:
                seen["begun"] = self.clock()

            def on_pre_optimizer_step(inner, *args: Any, **kwargs: Any) -> None:
                if gradient:
                    seen["gradient"] = self.gradient(self.model)

            def on_train_end(inner, *args: Any, **kwargs: Any) -> None:
                seen["ended"] = self.clock()

        with tempfile.TemporaryDirectory() as folder:
            trainer = self.trainer(folder, Watch())
            trainer.remove_callback(PrinterCallback)
            loss = trainer.train().training_loss
        return Step(loss, seen["ended"] - seen["begun"], seen.get("gradient"))

    def collate(self, batch: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """A micro-batch; its places are counted."""
        laid_out = self.lay_out(batch)
        self.places += laid_out["input_ids"].numel()
        return laid_out

    def trainer(self, folder: str, watch: Any) -> Any:
        from transformers import Trainer, TrainingArguments

        return Trainer(
            self.model,
            TrainingArguments(**self.arguments(folder)),
            data_collator=self.collate,
            train_dataset=self.rows,
            callbacks=[watch],
        )

    def arguments(self, folder: str) -> dict[str, Any]:
        """What both trainers take: one step over everything, and nothing beside it."""
        return {
            "output_dir": folder,
            "per_device_train_batch_size": BATCH,
            "gradient_accumulation_steps": -(-len(self.rows) // BATCH),
            "max_steps": 1,
            "learning_rate": 1e-30,
            "lr_scheduler_type": "constant",
            "max_grad_norm": 0.0,
            "remove_unused_columns": False,
            "report_to": "none",
            "logging_strategy": "no",
            "save_strategy": "no",
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
            "use_cpu": self.task.device.type == "cpu",
            "bf16": self.task.bf16,
            "seed": 0,
            **self.further,
        }


class Trl(HuggingFace):
    """TRL's SFTTrainer on the same padded batches; it packs no model that sees."""

    def __init__(self, task: Task, model: Any) -> None:
        super().__init__(task, model, "TRL SFTTrainer, random padding")
        lacking = [name for name in ("trl", "datasets") if find_spec(name) is None]
        if lacking:
            self.missing = f"{' and '.join(lacking)} not installed; pip install 'isthmus[bench]'"

    def trainer(self, folder: str, watch: Any) -> Any:
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer

        from isthmus.testing import tiny_tokenizer

        numbered = Dataset.from_dict({"number": list(range(len(self.rows)))})
        # Its name has changed; TRL turns it on by itself.
        fields = SFTConfig.__dataclass_fields__
        new = "activation_checkpointing"
        more = {
            "dataset_kwargs": {"skip_prepare_dataset": True},
            new if new in fields else "gradient_checkpointing": False,
            "max_length": None,
        }
        return SFTTrainer(
            self.model,
            SFTConfig(**self.arguments(folder), **more),
            data_collator=lambda batch: self.collate([self.rows[row["number"]] for row in batch]),
            train_dataset=numbered,
            processing_class=tiny_tokenizer(),
            callbacks=[watch],
        )


class Isthmus(Contender):
    """isthmus' own plan, loader and engine."""

    def __init__(self, task: Task, model: Any, parallel: Parallel, name: str = "isthmus") -> None:
        super().__init__(task)
        self.model, self.name = model, name
        root = Root(model, LanguageModelling.Config().build(), task.bf16)
        learning = {n: p for n, p in root.named_parameters() if p.requires_grad}
        optimizer = build_optimizer(
            [ParameterGroup("all", learning)], OptimizerConfig(lr=1e-30, clip=None)
        )
        preparer = DrawnPreparer(task.drawn, round(task.preset.visual**0.5))
        self.loader = _loader(task, preparer)
        self.engine = Engine(
            root,
            optimizer,
            parallel,
            name="bench",
            clip=None,
            seed=0,
            spare=lambda: preparer.collate(preparer.examples[:1]),
        )
        root.train()

    def step(self, gradient: bool = False) -> Step:
        kept: list[list[Tensor]] = []
        hook = self.engine.optimizer.register_step_pre_hook(
            lambda *_: kept.append(self.gradient(self.model)) if gradient else None
        )
        begun = self.clock()
        (result,) = [self.engine.step(data.step, data.batches, lambda: []) for data in self.loader]
        seconds = self.clock() - begun
        hook.remove()
        return Step(result.loss or 0.0, seconds, kept[0] if kept else None)


def _loader(task: Task, preparer: DrawnPreparer) -> StepLoader:
    mixture = Mixture([DrawnSource(len(task.drawn))])
    lengths = [len(each.ids) for each in task.drawn]
    # More packs than there can be: one step has them all.
    plan = PackedPlan(mixture, lengths, capacity=task.pack, packs=len(lengths), epochs=1)
    return StepLoader(plan, mixture, preparer)


class Models:
    """Both models of a task, each built when first asked for, and one at a time on a GPU."""

    def __init__(self, task: Task) -> None:
        self.task = task

    @cached_property
    def ours(self) -> VisionLanguageModel:
        model = isthmus_model(self.task.preset, self.task.stage)
        learnt = {name: frozenset[str]() for name in model.parts()}
        set_precision(model.parts(), self.task.bf16, learnt)
        return model

    @cached_property
    def theirs(self) -> Any:
        model = transformers_model(self.ours, self.task.preset, self.task.stage)
        set_precision({"all": model}, self.task.bf16, {"all": frozenset()})
        return model

    def rest(self) -> None:
        """Leave the GPU."""
        for name in ("ours", "theirs"):
            if name in vars(self):
                model = vars(self)[name]
                model.zero_grad(set_to_none=True)
                model.to("cpu")


def contenders(models: Models, parallel: Parallel) -> list[Callable[[], Contender]]:
    """Everyone, in the order of the table; the first is what the others are measured by."""
    task = models.task
    grouped = {"train_sampling_strategy": "group_by_length"}
    return [
        lambda: HuggingFace(task, models.theirs, "HF Trainer, random padding"),
        lambda: HuggingFace(task, models.theirs, "HF Trainer, length-grouped", **grouped),
        lambda: Trl(task, models.theirs),
        lambda: HuggingFace(task, models.theirs, "HF Trainer, stock packing", flattened),
        lambda: Isthmus(task, models.ours, parallel),
    ]
