"""The house rules: who imports whom, and where SQL, paths and URLs may stand. Each is shown to be able to fail.

The arrows are import-linter's contracts in pyproject.toml; the rest is read off the syntax tree here.
"""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from gateway.storage.layout import Layout
from tests.support.stale_names import stale_names

ROOT = Path(__file__).parents[1]
LAYERS = (
    *(
        "cli",
        "workers",
        "server",
        "admin",
        "scp",
        "web",
        "ingest",
        "retrieve",
        "workflow",
        "index",
        "imaging",
        "jobs",
        "render",
        "storage",
        "events",
        "access",
        "audit",
    ),
    *(
        "processes",
        "net",
        "http",
        "database",
        "dimse",
        "ul",
        "dicom",
        "errors",
        "printable",
        "config",
        "telemetry",
        "tracing",
        "edit",
        "supervision",
    ),
)
STATEMENT = re.compile(
    r"\b(SELECT\s.+\sFROM\s|INSERT\s+(OR\s+\w+\s+)?INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s"
    r"|CREATE\s+(TABLE|INDEX|UNIQUE|TEMP|VIRTUAL)|ALTER\s+TABLE|DROP\s+TABLE|PRAGMA\s)",
    re.DOTALL,
)
URL = re.compile(r"^/[a-z{][\w\-/{}.:]*$")
PATH_CALLS = {"join", "joinpath"}
ROUTE_CALLS = {"add_get", "add_post", "add_put", "add_delete", "add_head", "add_route", "add_resource", "add_static"}
STORE_PATHS = {name for name in dir(Layout(Path())) if not name.startswith("__")} - {
    *("base", "disk", "database", "marker", "has_index", "rebuilding", "write_lock", "spool", "ohif", "migrations"),
    "manifest",
}
"""What a layout says of the store, and so to storage/ alone."""
PATHLESS = ("ul", "dimse", "net", "index", "events", "scp", "ingest", "retrieve", "workflow", "admin", "storage")
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
    """SQL stands only in database/, and in files and folders named queries."""
    return [
        f"{file}:{line}: {text.strip()[:60]}"
        for file, module in sources(tree)
        if file.parts[0] != "database" and "queries" not in (file.stem, file.parent.name)
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


def locations_outside_their_place(tree: Path) -> list[str]:
    """What a key means, and where the store has its files, only storage/ knows: the rest of the house has the key."""
    found = []
    for file, module in sources(tree):
        if file.parts[0] == "storage":
            continue
        for node in ast.walk(module):
            makes_keys = (
                isinstance(node, ast.ImportFrom)
                and node.module == "gateway.storage.layout"
                and any(alias.name != "Layout" for alias in node.names)
            )
            asks_layout = (
                isinstance(node, ast.Attribute)
                and node.attr in STORE_PATHS
                and re.search(r"(^|[._])layout$|^Layout\(", ast.unparse(node.value)) is not None
            )
            if makes_keys or asks_layout:
                found.append(f"{file}:{node.lineno}: {ast.unparse(node)[:60]}")
    return found


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def urls_outside_their_place(tree: Path) -> list[str]:
    """Routes are added only in web/routes.py, and spelled only in web/route.py and in the tables of the handlers."""
    found = []
    for file, module in sources(tree, "web", "access", "server.py"):
        if file.parts in (("web", "routes.py"), ("web", "route.py")):
            continue
        calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
        declared = {
            line
            for node in calls
            if isinstance(node.func, ast.Name) and node.func.id in ("Route", "_route")
            for line, _ in texts(ast.Module([ast.Expr(node)], []))
        }
        found += [
            f"{file}:{node.lineno}: {ast.unparse(node)[:60]}"
            for node in calls
            if isinstance(node.func, ast.Attribute) and node.func.attr in ROUTE_CALLS
        ]
        found += [
            f"{file}:{line}: {text}"
            for line, text in texts(module)
            if line not in declared and URL.match(text) and text.count("/") > 1
        ]
    return found


def undeclared_imports(tree: Path) -> list[str]:
    """What is imported stands in pyproject.toml, not merely among what our dependencies bring with them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["postgres"], *extras["otel"]]
    declared = {_canonical(re.split(r"[^\w.-]", each, maxsplit=1)[0]) for each in wanted}
    providers = packages_distributions()
    found = []
    for file in sorted((*tree.glob("gateway/**/*.py"), *tree.glob("loadtest/**/*.py"))):
        imported = _imported(ast.parse(file.read_bytes(), str(file)))
        for line, module in dict.fromkeys((line, name.partition(".")[0]) for line, name, _ in imported):
            if module in ("gateway", "loadtest") or module in sys.stdlib_module_names:
                continue
            if declared.isdisjoint(map(_canonical, providers.get(module, []))):
                found.append(f"{file.relative_to(tree)}:{line}: {module}")
    return found


def _imported(module: ast.Module) -> Iterator[tuple[int, str, str]]:
    """For each name imported: the line, the module named, and what would be its submodule of that name."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, node.module, f"{node.module}.{alias.name}") for alias in node.names)


def _canonical(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def circles_of_files(tree: Path) -> list[str]:
    """No file imports itself by way of others; imports for type checking and those in functions count too."""
    modules = {".".join(("gateway", *_dotted(file))): module for file, module in sources(tree)}
    graph: dict[str, set[str]] = {}
    for name, module in modules.items():
        named = (target if target in modules else source for _, source, target in _imported(module))
        graph[name] = {other for other in named if other in modules and other != name}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


def _dotted(file: Path) -> tuple[str, ...]:
    parts = file.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


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
        {"ingest__ingest": "import pynetdicom"},
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
    (paths_outside_their_place, {"ingest__ingest": 'folder = data / "incoming"'}),
    (paths_outside_their_place, {"storage__filesystem": "p = os.path.join(root, key)"}),
    (locations_outside_their_place, {"admin__backup": "path = folder.layout.stored(key)"}),
    (locations_outside_their_place, {"admin__reindex": "names = os.listdir(Layout(Path(path)).incoming)"}),
    (locations_outside_their_place, {"ingest__recovery": "from gateway.storage.layout import Layout, is_key"}),
    (urls_outside_their_place, {"web__qido": 'app.router.add_get("/x", f)'}),
    (urls_outside_their_place, {"web__wado": 'uri = "/dicom-web/studies"'}),
    (undeclared_imports, {"web__pages": "def f():\n    from propcache.api import cached_property"}),
    (undeclared_imports, {"web__pages": "import pytest"}),
    (circles_of_files, {"net__a": "from gateway.net import b", "net__b": "from gateway.net.a import X"}),
    (
        circles_of_files,
        {
            "net__a": "from gateway.net.b import X",
            "net__b": "import gateway.net.c",
            "net__c": "if TYPE_CHECKING:\n    from gateway.net.a import Y",
        },
    ),
]


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, _ in RULES), ids=lambda rule: rule.__name__)
def test_house_rule(rule: Callable[[Path], list[str]]):
    assert rule(ROOT) == []


@pytest.mark.parametrize(("rule", "files"), RULES, ids=lambda part: getattr(part, "__name__", ""))
def test_house_rule_can_fail(tmp_path: Path, rule: Callable[[Path], list[str]], files: dict[str, str]):
    assert rule(made_up(tmp_path / "good", database__sqlite='"""SELECT a FROM b"""\nq = "SELECT a FROM b"')) == []
    assert len(rule(made_up(tmp_path / "bad", **files))) == 1


def test_tests_use_names_that_are_there():
    assert stale_names(ROOT) == []


@pytest.mark.parametrize(
    "text",
    [
        "from gateway.web.rest import gone",
        "from gateway.index import store\nstore.gone",
        "import gateway.index.store\ngateway.index.store.gone",
        'def test(monkeypatch):\n    monkeypatch.setattr("gateway.index.store.gone", 1)',
        'def test(monkeypatch):\n    monkeypatch.setattr("gateway.index.store.Store.gone", 1)',
        'from gateway.index.store import Store\npatch.object(Store, "gone", 1)',
        "from gateway.index import store as module\n"
        'class TestIt:\n    def test(self, m):\n        m.setattr(module, "gone", 1)',
    ],
)
def test_names_that_are_gone_are_found(tmp_path: Path, text: str):
    made_up(tmp_path, index__store="class Store:\n    def there(self):\n        self.too = 1\nTHERE = Store()")
    (tmp_path / "tests").mkdir()
    test = tmp_path / "tests" / "test_it.py"
    test.write_text(text)
    assert [each.rpartition(".")[2] for each in stale_names(tmp_path)] == ["gone"]
    there = (
        text.replace("rest import gone", "rest import *").replace("Store.gone", "Store.too").replace(".gone", ".THERE")
    )
    test.write_text(there.replace('Store, "gone"', 'Store, "there"').replace('"gone"', '"THERE"'))
    (tmp_path / "gateway" / "web" / "rest.py").write_text("")
    assert [each for each in stale_names(tmp_path) if not each.endswith("*")] == []


def test_a_name_that_is_something_else_inside_is_left_alone(tmp_path: Path):
    made_up(tmp_path, index__store="THERE = 1")
    (tmp_path / "tests").mkdir()
    text = "from gateway.index import store\ndef test(store):\n    store.gone\n    [store.gone for store in ()]\n"
    (tmp_path / "tests" / "test_it.py").write_text(text)
    assert stale_names(tmp_path) == []
