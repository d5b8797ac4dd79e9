"""House style that a linter does not hold: documentation, silence, nothing half-done."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "braindecode_ssr").rglob("*.py"))
SHIPPED = LIBRARY + sorted((ROOT / "cli").rglob("*.py"))
WRITTEN = SHIPPED + [
    file
    for folder in ("tests", "benchmarks", "tutorials", ".ci")
    for file in sorted((ROOT / folder).rglob("*.py"))
]
UNFINISHED = re.compile(
    r"\b(TO" r"DO|FIX" r"ME|XX" r"X|Not" r"ImplementedError)\b|pragma: " r"no cover"
)
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def name(file):
    return str(file.relative_to(ROOT))


def parsed(file):
    return ast.parse(file.read_text(encoding="utf-8"))


def public(node, prefix=""):
    """Every public class, function and method below a node, with its dotted name."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*FUNCTION, ast.ClassDef)) and not child.name.startswith("_"):
            yield prefix + child.name, child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{prefix}{child.name}.")


@pytest.mark.parametrize("file", WRITTEN, ids=name)
def test_nothing_is_half_done(file):
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        assert not UNFINISHED.search(line), f"line {number}: {line.strip()}"


@pytest.mark.parametrize("file", SHIPPED, ids=name)
def test_modules_are_documented(file):
    assert ast.get_docstring(parsed(file)), "the module has no docstring"


@pytest.mark.parametrize("file", SHIPPED, ids=name)
def test_public_functions_are_typed(file):
    for dotted, node in public(parsed(file)):
        if isinstance(node, FUNCTION):
            assert node.returns is not None, f"{dotted} does not say what it returns"


@pytest.mark.parametrize("file", LIBRARY, ids=name)
def test_library_does_not_print(file):
    calls = [node for node in ast.walk(parsed(file)) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if ast.unparse(call.func) == "print"]
