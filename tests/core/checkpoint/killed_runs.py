"""Runs that are killed in the middle of a save, and then gone on with.

    python -m tests.core.checkpoint.killed_runs FOLDER

writes `FOLDER/whole`, a run that nothing disturbed, and for every instant of INSTANTS a folder
with the run as the kill left it (`killed`) and as `resume` ended it (`resumed`). Each of them
is a process of its own, forked from one that has imported everything and trained nothing.

An instant is what the process was about to do (`make`, `rename`, `remove`), or a file that it
had written one half of, below the folder of checkpoints. Between two of them the disk does not
change; forcing bytes onto it matters to a power cut, not to a kill.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isthmus.core import config as configs
from isthmus.core.checkpoint import CHECKPOINTS, weights
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.core.train import progress
from isthmus.core.train.run import run
from tests.core.train.tiny import stage, tiny_run, write_data

FIRST, SECOND, LAST = "01-align-000001", "01-align-000002", "01-align-000003"

INSTANTS: dict[str, str | None] = {
    f"rename .{FIRST}.tmp": None,
    f"make .{SECOND}.tmp": FIRST,
    f"make .{SECOND}.tmp/model": FIRST,
    f"half of .{SECOND}.tmp/model/encoder.safetensors": FIRST,
    f"half of .{SECOND}.tmp/model/connector.safetensors": FIRST,
    f"half of .{SECOND}.tmp/model/llm.safetensors": FIRST,
    f"make .{SECOND}.tmp/tokenizer": FIRST,
    f"half of .{SECOND}.tmp/model.yaml": FIRST,
    f"half of .{SECOND}.tmp/run.yaml": FIRST,
    f"half of .{SECOND}.tmp/trainer.json": FIRST,
    f"half of .{SECOND}.tmp/optimizer.safetensors": FIRST,
    f"half of .{SECOND}.tmp/manifest.json": FIRST,
    f"rename .{SECOND}.tmp": FIRST,
    f"rename {FIRST}": SECOND,
    f"remove .{FIRST}.tmp": SECOND,
    f"remove .{FIRST}.tmp/manifest.json": SECOND,
    f"rename .{LAST}.tmp": SECOND,
    f"rename {SECOND}": LAST,
    f"remove .{SECOND}.tmp": LAST,
}
"""Instant -> the newest whole checkpoint that it leaves."""

REPLACING: dict[str, str] = {
    f"rename {SECOND}": FIRST,
    f"rename .{SECOND}.tmp": FIRST,
    f"remove .{SECOND}.old": SECOND,
}
"""The same of a save in the place of a damaged checkpoint, which a resumed run had passed over."""


class Instants:
    """Hears of the instants of this process, and kills it at one of them."""

    def __init__(self, checkpoints: Path, deadly: str) -> None:
        self.checkpoints = checkpoints
        self.deadly = deadly
        self.met: list[str] = []
        self.removing = ""
        sys.addaudithook(self._audit)
        write_text, save_file = Path.write_text, weights.save_file

        def text(path: Path, *args: Any, **kwargs: Any) -> int:
            return self._halved(path, lambda: write_text(path, *args, **kwargs))

        def tensors(own: Any, path: Path, **kwargs: Any) -> None:
            self._halved(path, lambda: save_file(own, path, **kwargs))

        Path.write_text = text  # type: ignore[method-assign, assignment]
        weights.save_file = tensors

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "os.mkdir":
            self._about_to("make", args[0])
        elif event == "os.rename":
            self._about_to("rename", args[0])
        elif event == "shutil.rmtree":
            self.removing = str(args[0])
            self._about_to("remove", args[0])
        elif event == "os.remove" and args[0] == "manifest.json":
            # Named by a folder that is open, so its path has to be remembered.
            self._about_to("remove", f"{self.removing}/{args[0]}")

    def _halved(self, path: Path, write: Callable[[], Any]) -> Any:
        result = write()
        if self._is_deadly("half of", path):
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    def _about_to(self, what: str, path: Any) -> None:
        if self._is_deadly(what, Path(path)):
            os.kill(os.getpid(), signal.SIGKILL)

    def _is_deadly(self, what: str, path: Path) -> bool:
        if self.checkpoints not in path.parents:
            return False
        name = path.relative_to(self.checkpoints).as_posix()
        self.met.append(f"{what} {re.sub(r'-[0-9a-f]{8}(?=/|$)', '', name)}")
        return self.met[-1] == self.deadly


def in_a_child(work: Callable[[], object]) -> int:
    """Do it in a fork of this process; returns how that ended, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train(folder: Path, out: Path, deadly: str = "", *, keep: int = 1, resume: bool = False) -> int:
    """Three steps with a save after each, in a process of their own."""

    def work() -> None:
        # Most of a tiny run's time, and none of what is looked at here.
        progress.draw_curves = lambda metrics, picture: None
        instants = Instants(out / CHECKPOINTS, deadly)
        parts = {"encoder": "full", "connector": "full", "llm": "full"}
        settings = tiny_run(folder, stage(folder, train=parts, steps=3, save_every=1))
        run(settings | {"out": str(out), "keep": keep}, resume=resume)
        out.with_suffix(".met").write_text("\n".join(instants.met))

    return in_a_child(work)


def kill_and_resume(folder: Path, place: Path, deadly: str, *, keep: int, resume: bool) -> None:
    """Let the run in `place/killed` die at an instant, and a copy of it go on to its end."""
    killed, resumed = place / "killed", place / "resumed"
    assert train(folder, killed, deadly, keep=keep, resume=resume) == -signal.SIGKILL, deadly
    shutil.copytree(killed, resumed)
    assert train(folder, resumed, keep=keep, resume=True) == 0, deadly


def main(folder: Path) -> None:
    """All of it."""
    write_data(folder, 6)
    model = configs.load(ModelConfig, tiny_run(folder)["model"])
    build_model(model, texts=lambda: iter(["a word"]), seed=0)  # imports what children need
    # They would spend half of their time looking for garbage among what was imported.
    gc.freeze()
    assert train(folder, folder / "whole") == 0
    for number, deadly in enumerate(INSTANTS):
        kill_and_resume(folder, folder / f"new-{number}", deadly, keep=1, resume=False)
    for number, deadly in enumerate(REPLACING):
        place = folder / f"again-{number}"
        assert train(folder, place / "killed", f"make .{LAST}.tmp", keep=2) == -signal.SIGKILL
        (place / "killed" / CHECKPOINTS / SECOND / "trainer.json").write_text("{}")
        kill_and_resume(folder, place, deadly, keep=2, resume=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
