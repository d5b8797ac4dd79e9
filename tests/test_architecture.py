"""What the source says of itself: which room may import which, what training can reach, the house style."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TREES = {"braindecode_ssr": ROOT / "braindecode_ssr", "braindecode_ssr_cli": ROOT / "cli"}

# The rooms in order: each may import those before it.
ORDER = """
    errors registry files config methods retrieval preprocessing simulation datasets trials images
    models losses runs reporting training inference resolve pipeline sharing calibrate benchmarking moabb
""".split()

# Room -> the outside packages that it may import; rooms that are not named are free to choose,
# except that nobody but the command line knows click.
MAY_REQUIRE = {
    "errors": "",
    "registry": "",
    "config": "pydantic",
    "hyperbolic": "torch",
    "methods": "pydantic",
    "losses": "torch numpy einops lazy_loader",
    "retrieval": "torch numpy pandas scipy pydantic",
}

HEAVY = [
    "torch",
    "braindecode",
    "moabb",
    "mne",
    "pandas",
    "sklearn",
    "skorch",
    "scipy",
    "PIL",
    "open_clip",
]


def modules():
    """Dotted name and file of every module of the project."""
    for package, folder in TREES.items():
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(folder).with_suffix("").parts
            yield ".".join([package, *(part for part in parts if part != "__init__")]), file


@cache
def exists(name):
    package, *rest = name.split(".")
    path = TREES[package].joinpath(*rest)
    return path.is_dir() or path.with_suffix(".py").is_file()


@cache
def parsed(file):
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def nodes(file):
    return list(ast.walk(parsed(file)))


def for_types_only(file):
    """The nodes below ``if TYPE_CHECKING``: they draw no arrow."""
    return {
        id(inner)
        for node in nodes(file)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }


@cache
def imported(module, file):
    """Every module that a module imports, anywhere in it, by statement or by dotted string."""
    found = imported_by_statement(module, file)
    for node in nodes(file):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = re.fullmatch(r"(braindecode_ssr(?:_cli)?(?:\.\w+)+)(?::\w+)?", node.value)
            if named and exists(named[1]):
                found |= {named[1]}
    return found


@cache
def imported_by_statement(module, file):
    skipped = for_types_only(file)
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in nodes(file):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.update(_imported_from(node, package))
    return frozenset(found)


def _imported_from(node, package):
    base = node.module or ""
    if node.level:
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*above, *([base] if base else [])])
    own = base.split(".")[0] in TREES
    for alias in node.names:
        deeper = f"{base}.{alias.name}"
        yield deeper if own and exists(deeper) else base


def room(module):
    """``braindecode_ssr.models.ssr`` is in the room ``models``; the root itself has no name."""
    package, *rest = module.split(".")
    if package == "braindecode_ssr_cli" or rest == ["__main__"]:  # python -m braindecode_ssr
        return "cli"
    return rest[0] if rest else ""


def may_import(module, other):
    """Whether the order admits an arrow between two modules of the project."""
    here, there = room(module), room(other)
    if here in ("cli", there) or other == "braindecode_ssr":
        return True
    if there == "cli":
        return False
    return not here or ORDER.index(there) < ORDER.index(here)


ALL = list(modules())


def test_arrows():
    for module, file in ALL:
        assert room(module) in {"", "cli", *ORDER}, f"the room of {module} is not in ORDER"
        for other in imported(module, file):
            top = other.split(".")[0]
            if top in TREES:
                assert may_import(module, other), f"{module} may not import {other}"
            elif top not in sys.stdlib_module_names:
                allowed = MAY_REQUIRE.get(room(module))
                known = allowed is None or top in allowed.split()
                assert known, f"{module} may not import {other}"
                assert room(module) == "cli" or top != "click", f"{module} may not import click"


@pytest.mark.parametrize(
    ("module", "other", "admitted"),
    [
        ("models.ssr", "losses.ssr", False),
        ("models.ssr", "datasets.base", True),
        ("losses.ssr", "models.ssr", True),
        ("retrieval.ranks", "errors", True),
        ("datasets.base", "training.data", False),
        ("training.data", "inference.evaluation", False),
    ],
)
def test_the_order_forbids(module, other, admitted):
    assert may_import(f"braindecode_ssr.{module}", f"braindecode_ssr.{other}") is admitted


def test_no_circles():
    """Not even among imports inside functions."""
    known = {module for module, _ in ALL}
    arrows = {
        module: {other for other in imported_by_statement(module, file) if other in known}
        - {module}
        for module, file in ALL
    }
    done: set[str] = set()

    def visit(module, path):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in sorted(arrows[module]):
                visit(other, [*path, module])
            done.add(module)

    for module in arrows:
        visit(module, [])


def test_nothing_imports_the_command_line():
    assert not may_import("braindecode_ssr.pipeline", "braindecode_ssr_cli.runs")
    assert may_import("braindecode_ssr_cli.runs", "braindecode_ssr.pipeline")


@pytest.mark.parametrize("package", TREES)
def test_importing_the_root_is_light(package):
    code = f"import sys, {package}; print(*[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


# What trains has no path to the trials that are tested, by its imports and by its words

TRAINS = ("training.retriever", "training.callbacks", "training.ridge", "training.distributed")
PREPARES = ("training.data", "trials.averages")
TESTS = ("inference.evaluation", "pipeline", "retrieval.evaluations")


@cache
def reached(module):
    """Every module of the project that a module imports, and those that these import, and so on."""
    graph = {name: imported(name, file) for name, file in ALL}
    found, to_do = set(), [module]
    while to_do:
        new = {other for other in graph.get(to_do.pop(), ()) if other not in found}
        found |= new
        to_do += new
    return found


@pytest.mark.parametrize("module", [*TRAINS, *PREPARES])
def test_what_trains_reaches_nothing_that_tests(module):
    tests = {f"braindecode_ssr.{other}" for other in TESTS}
    assert tests < dict(ALL).keys()
    assert not reached(f"braindecode_ssr.{module}") & tests


def test_the_guard_sees_a_path():
    assert "braindecode_ssr.training.callbacks" in reached("braindecode_ssr.pipeline")
    assert "braindecode_ssr.inference.evaluation" in reached("braindecode_ssr_cli.runs")


def test_what_trains_has_no_word_for_the_test():
    package = TREES["braindecode_ssr"]
    for file in [*(package / "training").glob("*.py"), package / "trials" / "averages.py"]:
        words = {node.value for node in nodes(file) if isinstance(node, ast.Constant)}
        assert not words & {"test", "oracle"}, file.name


def test_the_pipeline_hands_its_test_set_to_the_test_alone():
    tree = parsed(TREES["braindecode_ssr"] / "pipeline.py")
    whole = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "train")
    calls = [node for node in ast.walk(whole) if isinstance(node, ast.Call)]
    trained = max(call.lineno for call in calls if "fit" in ast.unparse(call.func))
    uses = [
        (ast.unparse(call.func), call.lineno > trained)
        for call in calls
        for given in [*call.args, *(keyword.value for keyword in call.keywords)]
        if isinstance(given, ast.Name) and given.id == "test"
    ]
    names = [n for n in ast.walk(whole) if isinstance(n, ast.Name) and n.id == "test"]
    # it is made, gets the gallery of an image encoder that was trained, and is handed over
    assert sorted(uses) == [("replace", True), ("score_run", True)]
    assert sum(name.lineno < trained for name in names) == 1


# House style that a linter does not hold: documentation, silence, nothing half-done

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
        found = UNFINISHED.search(file.read_text(encoding="utf-8"))
        assert not found, f"{found[0]} in {name(file)}"


def test_modules_are_documented():
    assert [name(file) for file in SHIPPED if not ast.get_docstring(parsed(file))] == []


def test_public_functions_are_typed():
    for file in SHIPPED:
        for dotted, node in public(parsed(file)):
            if isinstance(node, FUNCTION):
                assert node.returns is not None, f"{dotted} in {name(file)} has no return type"


def test_library_does_not_print():
    for file in LIBRARY:
        for node in nodes(file):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{name(file)}:{node.lineno}"
