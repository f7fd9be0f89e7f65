"""The house rules: who imports whom, and where SQL, paths and URLs may stand. Each is shown to be able to fail.

The arrows are import-linter's contracts in pyproject.toml; the rest is read off the syntax tree here.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = (
    *("cli", "workers", "server", "sharing", "scp", "web", "archive", "net", "index", "storage", "events", "access"),
    *("database", "dimse", "ul", "dicom", "errors", "config", "telemetry", "edit"),
)
STATEMENT = re.compile(
    r"\b(SELECT\s.+\sFROM\s|INSERT\s+(OR\s+\w+\s+)?INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s"
    r"|CREATE\s+(TABLE|INDEX|UNIQUE|TEMP|VIRTUAL)|ALTER\s+TABLE|DROP\s+TABLE|PRAGMA\s)",
    re.DOTALL,
)
URL = re.compile(r"^/[a-z{][\w\-/{}.:]*$")
PATH_CALLS = {"join", "joinpath"}
ROUTE_CALLS = {"add_get", "add_post", "add_put", "add_delete", "add_head", "add_route", "add_resource", "add_static"}
PATHLESS = ("ul", "dimse", "net", "index", "events", "scp", "archive", "storage")
"""Rooms that name no place in the data folder; `storage/layout.py` does."""


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run the contracts of our pyproject.toml over the package `gateway` in `tree`."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", program, "--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def sources(tree: Path, *rooms: str) -> Iterator[tuple[Path, ast.Module]]:
    top = tree / "gateway"
    for file in sorted(top.rglob("*.py")):
        if not rooms or file.relative_to(top).parts[0] in rooms:
            yield file.relative_to(top), ast.parse(file.read_bytes(), str(file))


def texts(module: ast.Module) -> Iterator[tuple[int, str]]:
    """String constants with their lines, docstrings and bare strings left out."""
    bare = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.lineno, node.value


def sql_outside_its_place(tree: Path) -> list[str]:
    """SQL stands only in database/ and in files named queries.py."""
    return [
        f"{file}:{line}: {text.strip()[:60]}"
        for file, module in sources(tree)
        if file.parts[0] != "database" and file.name != "queries.py"
        for line, text in texts(module)
        if STATEMENT.search(text)
    ]


def paths_outside_their_place(tree: Path) -> list[str]:
    """Names below the data folder are made only in storage/layout.py."""
    found = []
    for file, module in sources(tree, *PATHLESS):
        if file.parts == ("storage", "layout.py"):
            continue
        for node in ast.walk(module):
            text = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and _is_text(node.right)
            call = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in PATH_CALLS
                and (node.func.attr == "joinpath" or ast.unparse(node.func.value) in ("os.path", "path"))
            )
            if text or call:
                found.append(f"{file}:{node.lineno}: {ast.unparse(node)[:60]}")
    return found


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def urls_outside_their_place(tree: Path) -> list[str]:
    """Routes are added only in web/routes.py, and nothing else in web/ spells one out."""
    found = []
    for file, module in sources(tree, "web", "access", "server.py"):
        if file.parts == ("web", "routes.py"):
            continue
        calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
        found += [
            f"{file}:{node.lineno}: {ast.unparse(node)[:60]}"
            for node in calls
            if isinstance(node.func, ast.Attribute) and node.func.attr in ROUTE_CALLS
        ]
        found += [f"{file}:{line}: {text}" for line, text in texts(module) if URL.match(text) and text.count("/") > 1]
    return found


def made_up(tree: Path, **files: str) -> Path:
    """A small gateway that keeps every rule, with these files put over it (`ul__pdu='import asyncio'`)."""
    for room in LAYERS:
        (tree / "gateway" / room).mkdir(parents=True)
        (tree / "gateway" / room / "__init__.py").write_text('"""A room."""\n')
    (tree / "gateway" / "__init__.py").write_text("")
    for name, text in files.items():
        (tree / "gateway" / (name.replace("__", "/") + ".py")).write_text(text + "\n")
    return tree


def test_imports_go_downward():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "files",
    [
        {"ul__pdu": "import gateway.dimse"},
        {"scp__storage": "from gateway import web"},
        {"index__rows": "from gateway.storage import store"},
        {"dicom__elements": "def f():\n    import gateway.telemetry"},
        {"dimse__command": "import logging"},
        {"archive__ingest": "import pynetdicom"},
        {"new_room": "x = 1"},
    ],
    ids=lambda files: next(iter(files)),
)
def test_import_rules_can_fail(tmp_path: Path, files: dict[str, str]):
    assert lint_imports(made_up(tmp_path / "good")).returncode == 0
    result = lint_imports(made_up(tmp_path / "bad", **{"storage__store": "x = 1", **files}))
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout or "new_room" in result.stdout


RULES: list[tuple[Callable[[Path], list[str]], dict[str, str]]] = [
    (sql_outside_its_place, {"index__search": 'q = f"SELECT id FROM study WHERE {x}"'}),
    (sql_outside_its_place, {"server__extra": 'db.execute("PRAGMA journal_mode=WAL")'}),
    (paths_outside_their_place, {"archive__ingest": 'folder = data / "incoming"'}),
    (paths_outside_their_place, {"storage__filesystem": "p = os.path.join(root, key)"}),
    (urls_outside_their_place, {"web__qido": 'app.router.add_get("/x", f)'}),
    (urls_outside_their_place, {"web__wado": 'uri = "/dicom-web/studies"'}),
]


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, _ in RULES), ids=lambda rule: rule.__name__)
def test_house_rule(rule: Callable[[Path], list[str]]):
    assert rule(ROOT) == []


@pytest.mark.parametrize(("rule", "files"), RULES, ids=lambda part: getattr(part, "__name__", ""))
def test_house_rule_can_fail(tmp_path: Path, rule: Callable[[Path], list[str]], files: dict[str, str]):
    assert rule(made_up(tmp_path / "good", database__sqlite='"""SELECT a FROM b"""\nq = "SELECT a FROM b"')) == []
    assert len(rule(made_up(tmp_path / "bad", **files))) == 1
