"""The table of settings in deploy/SETTINGS.md, made from gateway/config/.

`python -m tests.support.settings` writes it anew; tests/test_config.py fails while the two differ.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = (
    "sections.py",
    "tenants.py",
    "routes.py",
    "destinations.py",
    "edits.py",
    "deidentify.py",
    "roles.py",
    "sign_in.py",
    "viewers.py",
    "audit.py",
)
CONFIG = [ROOT / "gateway" / "config" / name for name in FILES]
DOCUMENT = ROOT / "deploy" / "SETTINGS.md"
BEGIN, END = "<!-- settings: python -m tests.support.settings -->\n", "<!-- end of settings -->\n"


def table() -> str:
    """A Markdown table of every setting: name, default, meaning."""
    nodes = [node for file in CONFIG for node in ast.parse(file.read_text()).body]
    classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
    unions = {
        node.targets[0].id: [word for word in re.findall(r"\w+", ast.unparse(node.value)) if word in classes]
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    unions = {name: variants for name, variants in unions.items() if variants}
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for name, default, text in _rows(classes, unions, "Settings", ""):
        cells = (f"`{name}`", f"`{default}`" if default else "", text)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


Row = tuple[str, str, str]


def _rows(classes: dict[str, ast.ClassDef], unions: dict[str, list[str]], section: str, prefix: str) -> Iterator[Row]:
    body = classes[section].body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        kind = ast.unparse(node.annotation)
        text = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            text = " ".join(str(after.value.value).split())
        name = prefix + node.target.id
        below = next((word for word in re.findall(r"\w+", kind) if word in classes or word in unions), None)
        if below is None:
            yield name, _default(node.value), text
        elif kind == below:
            yield from _rows(classes, unions, below, name + ".")
        else:
            # `name[]` for a list of tables, `name.NAME` for tables that have names.
            each = f"{name}.NAME" if kind.startswith("dict") else f"{name}[]"
            variants = unions.get(below, [below])
            base = classes[variants[0]].bases[0]
            if below in unions and isinstance(base, ast.Name):
                yield each, "", text
                yield from _rows(classes, unions, base.id, each + ".")
            else:
                yield each, "", text or " ".join((ast.get_docstring(classes[below]) or "").split())
            for variant in dict.fromkeys(name for each in variants for name in _line(classes, each, below in unions)):
                if below in unions:
                    yield each, "", " ".join((ast.get_docstring(classes[variant]) or "").split())
                yield from _rows(classes, unions, variant, each + ".")


def _line(classes: dict[str, ast.ClassDef], name: str, is_variant: bool) -> list[str]:
    """A class, after those between it and the base of all variants."""
    base = classes[name].bases[0]
    above = base.id if isinstance(base, ast.Name) else ""
    if not is_variant or above not in classes or above.startswith("Base"):
        return [name]
    return [*_line(classes, above, is_variant), name]


def _default(value: ast.expr | None) -> str:
    """As it would be written in the file, but for sizes with their unit."""
    match value:
        case None | ast.Constant(None):
            return ""
        case ast.Constant(bool() as truth):
            return str(truth).lower()
        case ast.Tuple(items):
            return "[" + ", ".join(map(_default, items)) + "]"
        case ast.Name():
            return "all"
    return ast.unparse(value).replace(" * ", " ").replace("'", '"')


def main() -> None:
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(before + BEGIN + table() + END + after)


if __name__ == "__main__":
    main()
