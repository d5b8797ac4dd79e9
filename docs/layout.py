"""Draw which part of the code imports which, from the imports themselves: ``python docs/layout.py``."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1] / "braindecode_ssr"
PICTURE = Path(__file__).with_name("layout.svg")


def rooms() -> dict[str, tuple[int, int]]:
    """Each sub-package or module of the package: its number of files and of lines."""
    found: dict[str, tuple[int, int]] = {}
    for file in sorted(ROOT.rglob("*.py")):
        name = _room(file)
        if name:
            files, lines = found.get(name, (0, 0))
            found[name] = files + 1, lines + len(file.read_text(encoding="utf-8").splitlines())
    return found


def arrows() -> dict[str, set[str]]:
    """Which rooms each room imports, imports inside functions included, those for type checkers not."""
    found: dict[str, set[str]] = {name: set() for name in rooms()}
    for file in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for_types = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        package = [ROOT.name, *file.relative_to(ROOT).parent.parts]
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level and id(node) not in for_types:
                above = package[: len(package) - node.level + 1]
                inside = [*above, *(node.module or "").split(".")][1:]
                for target in [inside[0]] if inside[0] else [alias.name for alias in node.names]:
                    if target in found and target != _room(file) and _room(file):
                        found[_room(file)].add(target)
    return found


def levels(arrows: dict[str, set[str]]) -> dict[str, int]:
    """How many steps of imports lie below each room."""
    known: dict[str, int] = {}

    def level(name: str) -> int:
        if name not in known:
            known[name] = 1 + max((level(other) for other in arrows[name]), default=-1)
        return known[name]

    for name in arrows:
        level(name)
    return known


def direct(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """The arrows without those that a longer way makes superfluous."""

    def below(name: str) -> set[str]:
        return {deeper for other in arrows[name] for deeper in {other, *below(other)}}

    return {
        name: {other for other in others if not any(other in below(o) for o in others - {other})}
        for name, others in arrows.items()
    }


def draw(path: Path = PICTURE) -> None:
    """Write the picture."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "layout"
    import matplotlib.pyplot as plt

    sizes, lines = rooms(), arrows()
    height = levels(lines)
    rows = [[name for name in sizes if height[name] == h] for h in range(max(height.values()) + 1)]
    place = {
        name: ((i + 0.5) / len(row) * 10, h)
        for h, row in enumerate(rows)
        for i, name in enumerate(row)
    }
    figure, axes = plt.subplots(figsize=(10, 0.85 * len(rows) + 0.4))
    for name, others in direct(lines).items():
        for other in others:
            axes.annotate(
                "",
                xy=(place[other][0], place[other][1] + 0.22),
                xytext=(place[name][0], place[name][1] - 0.22),
                arrowprops={"arrowstyle": "->", "color": "0.6", "lw": 0.9},
            )
    for name, (x, y) in place.items():
        count, length = sizes[name]
        label = (
            f"{name}/\n{count} files, {length:,} lines"
            if count > 1
            else f"{name}.py\n{length:,} lines"
        )
        box = {"boxstyle": "round,pad=0.35", "fc": "#eef3fb" if count > 1 else "white", "ec": "0.4"}
        axes.text(x, y, label, ha="center", va="center", fontsize=8, bbox=box)
    axes.set(xlim=(0, 10), ylim=(-0.5, len(rows) - 0.5))
    axes.axis("off")
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def _room(file: Path) -> str:
    first = file.relative_to(ROOT).parts[0].removesuffix(".py")
    return "" if first.startswith("_") else first


if __name__ == "__main__":
    draw()
