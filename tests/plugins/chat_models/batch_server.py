"""A Batch API on the loopback server: files, batches, and what goes wrong with them."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.loopback import Answer, Asked, completion, error

BOUNDARY = re.compile(r"boundary=(\S+)")


@dataclass
class BatchServer:
    """`polls` questions pass before a batch is over. `fate` gives, for a prompt and how often it
    was in a batch before, what becomes of it: answered, expired, or an HTTP status."""

    polls: int = 1
    fate: Any = None
    failed: list[str] = field(default_factory=list)
    """Codes with which the next batches are turned away before they begin."""
    forget: bool = False
    """Take the next batch, and drop the connection before saying so."""
    files: dict[str, str] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    tokens: list[tuple[int, int]] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Answer:
        what = asked.path.removeprefix("/v1/").split("?")[0].split("/")
        match asked.method, *what:
            case "POST", "files":
                return _json({"id": self._upload(asked), "object": "file"})
            case "POST", "batches":
                batch = self._create(asked.body)
                if self.forget:
                    self.forget = False
                    return Answer(body=b"{}", cut=0.0)
                return _json(batch)
            case "GET", "batches":
                listed = [*self.batches.values()]
                return _json({"object": "list", "data": listed, "has_more": False})
            case "GET", "batches", name:
                return _json(self._poll(self.batches[name]))
            case "GET", "files", name, "content":
                return Answer(body=self.files[name].encode())
        return error(404, f"no {asked.path}")

    def inputs(self) -> list[list[dict[str, Any]]]:
        """The lines of every batch's input."""
        names = [batch["input_file_id"] for batch in self.batches.values()]
        return [[json.loads(line) for line in self.files[name].splitlines()] for name in names]

    def _upload(self, asked: Asked) -> str:
        content = asked.body["content"].decode()
        found = BOUNDARY.search(asked.headers["content-type"])
        assert found is not None
        parts = content.split(f"--{found[1]}")
        (lines,) = [part for part in parts if "custom_id" in part]
        name = f"file-{len(self.files)}"
        self.files[name] = lines.partition("\r\n\r\n")[2].strip()
        return name

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        name = f"batch-{len(self.batches)}"
        self.batches[name] = {
            **{"id": name, "object": "batch", "status": "in_progress", "created_at": 1},
            **body,
            **{"output_file_id": None, "error_file_id": None, "errors": None, "polls": self.polls},
        }
        return self.batches[name]

    def _poll(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch["polls"] -= 1
        if batch["status"] == "in_progress" and batch["polls"] < 0:
            self._finish(batch)
        return batch

    def _finish(self, batch: dict[str, Any]) -> None:
        if self.failed:
            batch["status"] = "failed"
            problem = {"code": self.failed.pop(0), "message": "so it is", "line": None}
            batch["errors"] = {"object": "list", "data": [problem]}
            return
        good, bad, expired = [], [], False
        for line in map(json.loads, self.files[batch["input_file_id"]].splitlines()):
            prompt = line["body"]["messages"][-1]["content"]
            fate = self.fate(prompt, self.asked[prompt]) if self.fate else 200
            self.asked[prompt] += 1
            row = {"id": "x", "custom_id": line["custom_id"], "error": None}
            if fate == 200:
                as_asked = Asked(prompt, 0, 0, 0, {}, {})
                answer = completion(as_asked)
                self.tokens.append(as_asked.tokens)
                good.append(row | {"response": {"status_code": 200, "body": answer}})
            elif fate == "expired":
                expired = True
                said = {"code": "batch_expired", "message": "not in time"}
                bad.append(row | {"response": None, "error": said})
            elif fate != "gone":
                body = {"error": {"message": "no"}}
                bad.append(row | {"response": {"status_code": fate, "body": body}})
        random.Random(0).shuffle(good)
        good += good[:2]  # the same line twice: the interface does not say that it cannot be
        for name, rows in (("output_file_id", good), ("error_file_id", bad)):
            if rows:
                batch[name] = f"file-{len(self.files)}"
                self.files[batch[name]] = "\n".join(map(json.dumps, rows))
        batch["status"] = "expired" if expired else "completed"


def _json(body: dict[str, Any]) -> Answer:
    return Answer(body=json.dumps(body).encode())
