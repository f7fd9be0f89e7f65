"""Names of the gateway that tests use and that are gone, left over from a renaming: tests are not type-checked.

Read off the syntax trees alone. Where a tree does not say what something is, it is taken to be there.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_ALWAYS = {"__name__", "__file__", "__doc__", "__path__", "__dict__"}
_PATCHING = {"setattr", "delattr", "patch", "object"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True)
class Definitions:
    """What a module or class defines: names, with the classes' own definitions; `is_open` where it may have more."""

    names: dict[str, Definitions | None] = field(default_factory=dict)
    is_open: bool = False

    def lacks(self, name: str) -> bool:
        return not self.is_open and name not in self.names and name not in _ALWAYS


class Package:
    """The modules of the package `gateway` below a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.of = functools.cache(self._of)

    def file(self, name: str) -> Path | None:
        """The file of a module; None where there is none."""
        base = self._root.joinpath(*name.split("."))
        return next((file for file in (base.with_suffix(".py"), base / "__init__.py") if file.exists()), None)

    def _of(self, name: str) -> Definitions:
        file = self.file(name)
        assert file is not None, name
        return _defined(ast.parse(file.read_bytes()))

    def lacks(self, dotted: str) -> bool:
        """Whether there is no such module, name of a module, or member of a class."""
        parts = dotted.split(".")
        end = next((end for end in range(len(parts), 0, -1) if self.file(".".join(parts[:end]))), 0)
        found: Definitions | None = self.of(".".join(parts[:end])) if end else Definitions()
        for part in parts[end:]:
            if found is None:
                return False
            if found.lacks(part):
                return True
            found = found.names.get(part)
        return False


def _defined(scope: ast.AST) -> Definitions:
    names: dict[str, Definitions | None] = {}
    is_open = isinstance(scope, ast.ClassDef) and bool(scope.bases)
    for node in _within(scope):
        if isinstance(node, ast.ClassDef):
            names[node.name] = _defined(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names[node.name] = None
            is_open |= node.name == "__getattr__"
            if isinstance(scope, ast.ClassDef):  # attributes that methods give to `self`
                names |= {
                    each.attr: None
                    for each in ast.walk(node)
                    if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store)
                }
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.setdefault(node.id, None)
        elif isinstance(node, ast.alias):
            names.setdefault((node.asname or node.name).partition(".")[0], None)
    return Definitions(names, is_open)


def _within(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope, not those inside its functions and classes."""
    for node in ast.iter_child_nodes(scope):
        yield node
        if not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            yield from _within(node)


def stale_names(root: Path) -> list[str]:
    """Where the tests below a folder name what the package `gateway` beside them does not have."""
    package, found = Package(root), []
    for file in sorted((root / "tests").rglob("*.py")):
        for line, name in _used(ast.parse(file.read_bytes()), {}, package):
            if package.lacks(name):
                found.append(f"{file.relative_to(root)}:{line}: {name}")
    return list(dict.fromkeys(found))


def _used(scope: ast.AST, outer: dict[str, str], package: Package) -> Iterator[tuple[int, str]]:
    """Lines and dotted names of the gateway that a scope uses; `outer` are the names it sees, with what they are."""
    seen = outer | _bound(scope)
    for node in _within(scope):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((node.lineno, name) for name in _imported(node).values())
        elif isinstance(node, ast.Attribute) and (name := _dotted(node, seen)):
            if package.file(name.rpartition(".")[0]):
                yield node.lineno, name
        elif isinstance(node, ast.Call) and (name := _patched(node, seen)):
            yield node.lineno, name
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            yield from _used(node, seen, package)


def _bound(scope: ast.AST) -> dict[str, str]:
    """The names that a scope binds, with what of the gateway they are, or ''."""
    bound: dict[str, str] = {}
    if isinstance(scope, _FUNCTIONS):
        arguments = scope.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        bound |= {each.arg: "" for each in every if each is not None}
    for node in _within(scope):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {(each.asname or each.name).partition(".")[0]: "" for each in node.names}
            bound |= names | _imported(node)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound[node.id] = ""
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound[node.name] = ""
    return bound


def _imported(node: ast.Import | ast.ImportFrom) -> dict[str, str]:
    """What of the gateway an import binds: names with dotted names."""
    if isinstance(node, ast.Import):
        ours = [each for each in node.names if each.name.split(".")[0] == "gateway"]
        return {each.asname or "gateway": each.name if each.asname else "gateway" for each in ours}
    if node.level or (node.module or "").split(".")[0] != "gateway":
        return {}
    return {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}


def _dotted(node: ast.AST, seen: dict[str, str]) -> str:
    """The dotted name of the gateway that an expression is; '' for none."""
    if isinstance(node, ast.Name):
        return seen.get(node.id, "")
    if isinstance(node, ast.Attribute) and (base := _dotted(node.value, seen)):
        return f"{base}.{node.attr}"
    return ""


def _patched(call: ast.Call, seen: dict[str, str]) -> str:
    """The dotted name that a call replaces; '' where it does not, or replaces nothing of the gateway."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name not in _PATCHING or not call.args:
        return ""
    target, *others = call.args
    if isinstance(target, ast.Constant) and isinstance(target.value, str):
        return target.value if target.value.startswith("gateway.") else ""
    if others and isinstance(others[0], ast.Constant) and (base := _dotted(target, seen)):
        return f"{base}.{others[0].value}"
    return ""
