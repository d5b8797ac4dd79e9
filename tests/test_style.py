"""House style that a linter does not hold: documentation, silence, nothing half-done."""

import ast
import re
from pathlib import Path

from test_architecture import parsed

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


def public(node, prefix=""):
    """Every public class, function and method below a node, with its dotted name."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*FUNCTION, ast.ClassDef)) and not child.name.startswith("_"):
            yield prefix + child.name, child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{prefix}{child.name}.")


def test_nothing_is_half_done():
    for file in WRITTEN:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            assert not UNFINISHED.search(line), f"{name(file)}:{number}: {line.strip()}"


def test_modules_are_documented():
    assert [name(file) for file in SHIPPED if not ast.get_docstring(parsed(file))] == []


def test_public_functions_are_typed():
    for file in SHIPPED:
        for dotted, node in public(parsed(file)):
            if isinstance(node, FUNCTION):
                assert node.returns is not None, f"{dotted} in {name(file)} has no return type"


def test_library_does_not_print():
    for file in LIBRARY:
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{name(file)}:{node.lineno}"
