"""The import rule and the house rules, as data; every violation is named with file and line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "isthmus"
FILES = sorted(PACKAGE.rglob("*.py"))

CONTRACTS = {"errors", "core.contracts", "core.lock"}
ENGINE = {
    "core.config",
    "core.data",
    "core.model",
    "core.checkpoint",
    "core.train",
    "core.assistant",
}
CORE = ENGINE | {"core.chat", "core.scene"}
VERBS = {"synthesize", "evaluate", "experiment", "interop", "serve"}

MAY_IMPORT = {
    "errors": set(),
    "core.lock": {"errors"},
    "registry": {"errors"},
    "core.contracts": {"errors"},
    "core.config": {"registry", *CONTRACTS},
    "core.data": CONTRACTS,
    "core.model": CONTRACTS,
    "core.checkpoint": {"core.data", "core.model", "core.config", "registry", *CONTRACTS},
    "core.train": ENGINE - {"core.train", "core.assistant"} | {"registry"} | CONTRACTS,
    "core.assistant": ENGINE - {"core.assistant"} | {"registry"} | CONTRACTS,
    "core.chat": {"core.data", *CONTRACTS},
    "core.scene": {"core.data", *CONTRACTS},
    **{verb: CORE | {"registry"} | CONTRACTS for verb in VERBS},
    "cli": CORE | VERBS | {"registry", "public"} | CONTRACTS,
    "plugins": CORE | {"public"} | CONTRACTS,
    "testing": CORE | {"registry", "public"} | CONTRACTS,
    "public": CORE | {"registry"} | CONTRACTS,
    "__main__": {"cli"},
    "core": set(),
}
"""Room -> rooms that its modules may import, besides their own. `public` is `isthmus` itself.
No room has `plugins`: parts are reached by name. Plugins are strangers to each other, too."""

HEAVY = {
    "accelerate",
    "aiohttp",
    "datasets",
    "datasketch",
    "fastapi",
    "matplotlib",
    "openai",
    "peft",
    "pyarrow",
    "sentencepiece",
    "tensorboard",
    "timm",
    "transformers",
    "wandb",
}
"""Libraries that only functions may import, everywhere."""

LIGHT_ROOMS = {"registry", "cli", "errors", "public", "__main__"}
"""Rooms whose modules import neither these nor the ones in TORCH when they are imported."""

TORCH = {"numpy", "pydantic", "safetensors", "tokenizers", "torch"}

DYNAMIC = {"registry/loading.py", "__init__.py", "core/contracts/__init__.py"}
"""Files that may import a module by a computed name."""

MAX_LINES = 350
MAX_FUNCTION_LINES = 60
BANNED_NAMES = {"utils", "util", "common", "helpers", "misc", "types"}
BANNED_CALLS = {
    *("eval", "exec", "compile", "torch.load", "yaml.load", "yaml.unsafe_load"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
}
PICKLES = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def room(module: str) -> str:
    """`isthmus.core.data.images` -> `core.data`; what is in no room is the public API."""
    inner = module.removeprefix("isthmus").removeprefix(".")
    for name in sorted(MAY_IMPORT, key=len, reverse=True):
        if f"{inner}.".startswith(f"{name}."):
            return name
    return "public"


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, inside functions too; a relative one begins with a dot."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def imported_at_once(path: Path) -> Iterator[tuple[int, str]]:
    """(line, top package) of what importing the module imports: not in functions, not for types."""
    waiting: list[ast.AST] = [tree(path)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, str(node.module).split(".")[0]
        waiting += ast.iter_child_nodes(node)


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(PACKAGE.parent)}:{line}"


def objection(importer: str, imported: str) -> str:
    """Why this module may not import that one, if so."""
    if imported.startswith("."):
        return "relative imports hide which room they enter"
    if imported.split(".")[0] != "isthmus":
        return ""
    here, there = room(importer), room(imported)
    if here == there == "plugins":
        # The first four words name a part's own module: isthmus.plugins.encoders.clip
        alike = importer.split(".")[:4] == imported.split(".")[:4]
        return "" if alike else "plugins are strangers to each other"
    return "" if there == here or there in MAY_IMPORT[here] else f"{here} may not import {there}"


def test_modules_import_only_rooms_below_their_own() -> None:
    wrong = [
        f"{where(path, line)}: {why} ({imported})"
        for path in FILES
        for line, imported in imports(path)
        if (why := objection(module_of(path), imported))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("isthmus.core.data.images", "isthmus.core.contracts.Picture", True),
        ("isthmus.core.data.images", "isthmus.core.model.vlm", False),
        ("isthmus.core.contracts.part", "isthmus.registry.get_registry", False),
        ("isthmus.core.train.run", "isthmus.core.checkpoint.save", True),
        ("isthmus.core.checkpoint", "isthmus.core.train.run", False),
        ("isthmus.cli.train", "isthmus.plugins.connectors.mlp.Mlp", False),
        ("isthmus.plugins.connectors.mlp", "isthmus.hookimpl", True),
        ("isthmus.plugins.connectors.mlp", "isthmus.plugins.connectors.linear.Linear", False),
        ("isthmus.plugins.connectors.mlp", "isthmus.cli.main", False),
        ("isthmus.registry.table", "isthmus.errors.PartError", True),
        ("isthmus.registry.table", "isthmus.core.contracts", False),
        ("isthmus.core.data.images", "isthmus.Picture", False),
        ("isthmus.core.chat.keys", "isthmus.core.data.images.read_picture", True),
        ("isthmus.core.chat.ask", "isthmus.core.config.create", False),
        ("isthmus.core.train.run", "isthmus.core.chat.ask", False),
        ("isthmus.plugins.chat_models.openai.live", "isthmus.core.chat.failure_of", True),
        ("isthmus.core.data.images", "torch.nn", True),
        ("isthmus.core.data.images", "..model", False),
    ],
)
def test_rule_is_read_as_it_was_meant(importer: str, imported: str, allowed: bool) -> None:
    assert (objection(importer, imported) == "") == allowed


def test_every_module_is_in_a_room() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert rooms - {"__init__", "core"} <= set(MAY_IMPORT)
    below = (path.relative_to(PACKAGE / "core") for path in FILES if "core" in path.parts)
    inside = {path.parts[0].removesuffix(".py") for path in below}
    assert {f"core.{name}" for name in inside - {"__init__"}} <= set(MAY_IMPORT)


def test_modules_are_imported_by_written_names() -> None:
    wrong = [
        where(path, node.lineno)
        for path in FILES
        if str(path.relative_to(PACKAGE)) not in DYNAMIC
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute | ast.Name)
        and (getattr(node, "attr", "") or getattr(node, "id", ""))
        in ("import_module", "__import__")
    ]
    assert wrong == []


def test_heavy_libraries_are_imported_inside_functions() -> None:
    wrong = []
    for path in FILES:
        banned = HEAVY | TORCH if room(module_of(path)) in LIGHT_ROOMS else HEAVY
        wrong += [
            f"{where(path, line)}: {package}"
            for line, package in imported_at_once(path)
            if package in banned
        ]
    assert wrong == []


def test_registry_never_imports_torch_or_pydantic() -> None:
    wrong = [
        f"{where(path, line)}: {module}"
        for path in FILES
        if room(module_of(path)) == "registry"
        for line, module in imports(path)
        if module.split(".")[0] in TORCH | HEAVY
    ]
    assert wrong == []


def forbidden(node: ast.AST) -> str:
    """What is wrong with this piece of syntax, if anything."""
    if isinstance(node, ast.Assert):
        return "assert"
    if isinstance(node, ast.Import):
        return ", ".join({alias.name.split(".")[0] for alias in node.names} & PICKLES)
    if isinstance(node, ast.ImportFrom):
        return ", ".join({str(node.module).split(".")[0]} & PICKLES)
    if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
        return "" if ast.unparse(node.value) == "False" else "trust_remote_code"
    if isinstance(node, ast.keyword) and node.arg == "shell":
        return "" if ast.unparse(node.value) == "False" else "shell"
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func).removeprefix("builtins.")
        return name if name in BANNED_CALLS else ""
    return ""


def test_nothing_runs_what_it_reads() -> None:
    wrong = [
        f"{where(path, getattr(node, 'lineno', 0))}: {why}"
        for path in FILES
        if room(module_of(path)) != "interop"
        for node in ast.walk(tree(path))
        if (why := forbidden(node))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("assert x", "assert"),
        ("eval('1')", "eval"),
        ("model.eval()", ""),
        ("import pickle", "pickle"),
        ("from pickle import loads", "pickle"),
        ("torch.load(path)", "torch.load"),
        ("yaml.load(text)", "yaml.load"),
        ("builtins.exec(text)", "exec"),
        ("subprocess.run(line, shell=True)", "shell"),
        ("subprocess.run(words, shell=False)", ""),
        ("os.system(line)", "os.system"),
        ("f(trust_remote_code=True)", "trust_remote_code"),
        ("f(trust_remote_code=False)", ""),
    ],
)
def test_forbidden_syntax_is_seen(source: str, found: str) -> None:
    assert "".join(forbidden(node) for node in ast.walk(ast.parse(source))) == found


def test_modules_say_what_they_are_for() -> None:
    assert [where(path, 1) for path in FILES if not ast.get_docstring(tree(path))] == []


def test_files_and_functions_are_short() -> None:
    long = [
        where(path, length)
        for path in FILES
        if (length := len(path.read_text().splitlines())) > MAX_LINES
    ]
    long += [
        f"{where(path, node.lineno)}: {node.name}"
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert long == []


def test_modules_are_named_for_what_they_hold() -> None:
    assert [where(path, 1) for path in FILES if path.stem in BANNED_NAMES] == []


def test_source_is_ascii() -> None:
    wrong = [
        where(path, number)
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if not line.isascii()
    ]
    assert wrong == []
