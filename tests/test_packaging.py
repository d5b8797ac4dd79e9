"""The package list, the version and the declared dependencies agree with the tree."""

import ast
import configparser
import fnmatch
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

from test_architecture import TREES, nodes

import braindecode_ssr

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

FIRST_COMMAND = "pip install . && ssr-bd train --dataset things-sim --subject 5"
TEST_COMMAND = "pip install '.[tests]' && pytest"

# Declared though no module of ours imports it.
FOR_OTHERS = {
    "torchaudio": "braindecode needs the one built for the same torch",
}


def setup_cfg():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def folders():
    """Import name and folder of every package in the tree."""
    for package, top in TREES.items():
        for folder in [top, *(path for path in top.rglob("*") if path.is_dir())]:
            if any(folder.glob("*.py")):
                yield ".".join([package, *folder.relative_to(top).parts]), folder


def test_every_package_is_listed():
    listed = setup_cfg()["options"]["packages"].split()
    assert sorted(listed) == sorted(name for name, _ in folders())
    assert all((folder / "__init__.py").is_file() for _, folder in folders())


def test_files_that_are_not_python_are_installed():
    patterns = [p.strip() for p in setup_cfg()["options.package_data"]["*"].split(",")]
    files = [
        path.name
        for _, folder in folders()
        for path in folder.iterdir()
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert "py.typed" in files
    for name in files:
        assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), name


def test_version_is_stated_once():
    version = braindecode_ssr.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE)[1] == version
    assert re.search(r"^## (\d\S*)", changes, re.MULTILINE)[1] == version
    assert "version" in PROJECT["dynamic"]


def test_readme_has_both_commands():
    lines = [line.strip() for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()]
    assert FIRST_COMMAND in lines
    assert TEST_COMMAND in lines


distributions = cache(packages_distributions)  # reads the metadata of all that is installed


def third_party_imports(*folders):
    """Distribution names of all outside packages that the Python files below folders import."""
    known = distributions()
    files = [file for folder in folders for file in folder.rglob("*.py")]
    own = {*TREES, *(file.stem for file in (ROOT / "tests").rglob("*.py"))}
    names = {name for file in files for name in _tops(file)}
    outside = names - own - set(sys.stdlib_module_names)
    # where several distributions bring one package, the one that has its name
    return {normal(name if name in known.get(name, [name]) else known[name][0]) for name in outside}


def _tops(file):
    for node in nodes(file):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Call) and "importorskip" in vars(node.func).values():
            if not isinstance(node.args[0], ast.Constant):
                continue  # packages that another test names
            yield ast.literal_eval(node.args[0]).split(".")[0]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(entries):
    return {normal(re.match(r"[\w.-]+", entry)[0]) for entry in entries}


def test_dependencies_are_those_imported():
    needed, used = declared(PROJECT["dependencies"]), third_party_imports(*TREES.values())
    extras = PROJECT["optional-dependencies"]
    optional = declared(
        [*extras["onnx"], *extras["log"], *extras["hf"]]
    )  # some of them are imported by torch and skorch
    assert used - needed - optional == declared(extras["cluster"]), "imported but not declared"
    assert needed - used == set(FOR_OTHERS), "declared but not imported, or the reverse"


OPTIONAL = {
    *("captum", "lightning", "onnxruntime", "onnxscript", "tensorboard", "transformers")
}  # tests skip without


def test_what_tests_import_is_declared():
    extra = declared(PROJECT["optional-dependencies"]["tests"])
    used = third_party_imports(ROOT / "tests")
    assert used - extra - declared(PROJECT["dependencies"]) == OPTIONAL
    plugins = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert extra - used == set(plugins["tool"]["pytest"]["ini_options"]["required_plugins"])


CAPPED = {"torch"}  # pyproject.toml says why


def test_every_dependency_has_a_lower_bound_and_no_cap():
    for entry in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["tests"]:
        cap = r"(,<[\d.]+)" if declared([entry]) <= CAPPED else ""
        assert re.fullmatch(rf"[\w.-]+>=[\d.]+{cap}", entry), entry


def test_command_is_the_click_group():
    import braindecode_ssr_cli

    assert PROJECT["scripts"] == {"ssr-bd": "braindecode_ssr_cli:main"}
    assert callable(braindecode_ssr_cli.main)


def test_the_lower_bounds_are_those_that_were_tried():
    """torch 2.6 is the first whose ``weights_only`` reading takes what our reader of pickles needs."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed = re.search(r"^Last tried on [\d-]+: (.*?)\. Of ", text, re.M)[1]
    tried = dict(entry.rsplit(" ", 1) for entry in listed.lower().split(", "))
    bounds = dict(
        re.match(r"([\w.-]+)>=([\d.]+)", entry).groups() for entry in PROJECT["dependencies"]
    )

    def as_numbers(version):
        return [int(part) for part in version.split(".")]

    assert {"torch", "braindecode", "moabb", "mne", "numpy", "pandas"} <= set(tried) <= set(bounds)
    assert as_numbers(bounds["torch"]) >= [2, 6]
    for name, version in tried.items():  # the resolver may take a later bugfix, for another package
        bound = as_numbers(bounds[name])
        assert as_numbers(version)[:2] == [*bound, 0][:2] and as_numbers(version) >= bound, name
