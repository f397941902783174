"""transformers' Trainer and TRL's, as contenders: one step in micro-batches of eight.

Learning rates are too small to move a weight, so that every step is the first one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from torch import Tensor

from benchmarks.contest import Contender, Step, Task
from benchmarks.samples import padded, rows

BATCH = 8


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
