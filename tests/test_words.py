"""gateway/GLOSSARY.md, kept: a name means one thing, and the first sentence of a docstring stands alone."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import gateway

ROOT = Path(gateway.__file__).parent
GLOSSARY = ROOT / "GLOSSARY.md"
MAX_GLOSSARY_LINES = 90
SHARED = "Names that several rooms share"
"""The heading of the table in the glossary."""
LOOSE_BEGINNING = re.compile(r"(The same|Of|As|That|It|What|Who|Those|So|There)\b")
"""Words that need another sentence before them."""


def trees(root: Path = ROOT) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(root.rglob("*.py")):
        yield path.relative_to(root).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def homes(modules: Mapping[str, ast.Module]) -> dict[str, list[str]]:
    """The modules of each public class name."""
    found = defaultdict(list)
    for name, tree in modules.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(name)
    return found


def documented(node: ast.AST, place: str) -> Iterator[tuple[str, str]]:
    """Place and docstring of every public class and function in `node`."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not inner.name.startswith("_"):
            where = f"{place}:{inner.name}"
            yield where, ast.get_docstring(inner) or ""
            if isinstance(inner, ast.ClassDef):
                yield from documented(inner, where)


def loose(modules: Mapping[str, ast.Module]) -> list[str]:
    """Docstrings that begin with a word of LOOSE_BEGINNING."""
    return [
        f"{where}: {text.splitlines()[0]}"
        for name, tree in modules.items()
        for where, text in documented(tree, name)
        if LOOSE_BEGINNING.match(text)
    ]


def shared_names(glossary: str) -> set[str]:
    """The names in the glossary's table of names that several rooms share."""
    table = glossary.partition(SHARED)[2]
    return {name for row in re.findall(r"^\| `([^|]*)` \|", table, re.MULTILINE) for name in row.split("`, `")}


@pytest.fixture(scope="module")
def modules() -> dict[str, ast.Module]:
    return dict(trees())


def test_a_class_shares_its_name_only_as_the_glossary_says(modules: dict[str, ast.Module]) -> None:
    several = {name for name, places in homes(modules).items() if len(places) > 1}
    assert several == shared_names(GLOSSARY.read_text(encoding="utf-8"))


def test_the_glossary_is_read_in_one_sitting() -> None:
    assert len(GLOSSARY.read_text(encoding="utf-8").splitlines()) <= MAX_GLOSSARY_LINES


def test_first_sentences_stand_alone(modules: dict[str, ast.Module]) -> None:
    assert not loose(modules)


class TestThatTheseCanFail:
    def test_two_classes_of_one_name(self) -> None:
        one, two = (ast.parse("class Order: ...\nclass _Order: ...") for _ in range(2))
        assert homes({"a.py": one, "b.py": two}) == {"Order": ["a.py", "b.py"]}

    def test_a_table_of_names(self) -> None:
        text = f"| `Elsewhere` | x |\n## {SHARED}\n| name | meanings |\n|---|---|\n| `Job` | y |\n| `A`, `B` | z |\n"
        assert shared_names(text) == {"Job", "A", "B"}

    @pytest.mark.parametrize(
        "text", ["What a row says.", "The same for one value.", "As `Store.open`.", "It is over.\n\nWhy."]
    )
    @pytest.mark.parametrize("form", ["def name(): {}", "async def name(): {}", "class Name:\n    def name(self): {}"])
    def test_a_loose_sentence(self, form: str, text: str) -> None:
        assert len(loose({"a.py": ast.parse(form.format(repr(text)))})) == 1

    @pytest.mark.parametrize("text", ["Whether a row exists.", "Asks again.", "Sort the items.", "Offset of a value."])
    def test_a_sentence_that_stands(self, text: str) -> None:
        assert not loose({"a.py": ast.parse(f"def name(): {text!r}\ndef _hidden(): 'It.'")})
