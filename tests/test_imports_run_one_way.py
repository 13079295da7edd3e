"""The way of the data is one way: events -> labels -> features -> retrieval -> evaluation -> pipeline -> cli."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "lowerfunnel"

# Which part may import which others; what those may import, it may too. `errors`, `files` and `config` are open to all
# but the leaves; they see `errors` only. A new part is one line here.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    "config": set(),
    "nn": set(),
    "losses": set(),
    "metrics": set(),
    "index": set(),
    "page": set(),
    "events": set(),
    "labels": {"events"},
    "features": {"events"},
    "world": {"events", "metrics", "page"},
    "training": {"nn", "losses"},
    "retrieval": {"labels", "features", "training", "nn", "losses", "metrics"},
    "evaluation": {"retrieval", "index", "metrics"},
    "pipeline": {"evaluation", "world", "page"},
    "lab": {"pipeline", "page"},
    "serving": {"pipeline", "page"},
    "cli": {"lab", "pipeline", "serving", "world", "page"},
}
LEAVES = {"nn", "losses", "metrics"}
GROUND = {"errors", "files", "config"}
LEAF_PACKAGES = {"torch", "numpy", "jaxtyping"}


def allowed(part: str) -> set[str]:
    if part in LEAVES:
        return {part}
    reached = {part, "errors"} if part in GROUND else {part} | GROUND
    for other in MAY_IMPORT[part]:
        reached |= allowed(other)
    return reached


def modules_imported(tree: ast.AST, module: str) -> set[str]:
    """Full names of all that a file imports, at its top, in a function or for type checking."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *([base] if base else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names} if base == "lowerfunnel" else {base}
    return names


def problems_of(source: str, relative: Path) -> list[str]:
    part = relative.parts[0].removesuffix(".py")
    module = ".".join(["lowerfunnel", *relative.with_suffix("").parts])
    if part == "__init__":
        part = "errors"  # the package itself imports no part of it
    if part not in MAY_IMPORT:
        return [f"{relative}: {part!r} is not in the table of parts; give it a line"]
    found = []
    for name in sorted(modules_imported(ast.parse(source), module)):
        top, *rest = name.split(".")
        if top == "lowerfunnel":
            target = rest[0] if rest else "__init__"
            if target not in allowed(part) and target != "__version__":
                found.append(f"{relative} imports lowerfunnel.{target}, which lies after {part}")
        elif part in LEAVES and top not in LEAF_PACKAGES | set(sys.stdlib_module_names):
            found.append(f"{relative} imports {top}; a leaf sees only {', '.join(sorted(LEAF_PACKAGES))}")
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    assert problems_of(path.read_text(encoding="utf-8"), path.relative_to(PACKAGE)) == []


def test_the_table_has_no_circle():
    for part in MAY_IMPORT:
        for other in allowed(part) - {part}:
            assert part not in allowed(other), f"{part} and {other} import each other"


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("events/store.py", "from lowerfunnel.labels.build import x"),
        ("events/store.py", "def f():\n    import lowerfunnel.cli.main"),
        ("labels/build.py", "from lowerfunnel import features"),
        ("labels/build.py", "from ..features import vocabulary"),
        ("index/exact.py", "from lowerfunnel.metrics import recall"),
        ("losses/softmax.py", "from lowerfunnel.errors import DataError"),
        ("losses/softmax.py", "import pyarrow"),
        ("nn/layers.py", "from lowerfunnel.losses import softmax"),
        ("evaluation/report.py", "if TYPE_CHECKING:\n    from lowerfunnel.pipeline.run import Run"),
        ("pipeline/run.py", "from lowerfunnel.cli import main"),
        ("elsewhere/new.py", ""),
        ("config/loader.py", "from lowerfunnel.world import WorldConfig"),
    ],
)
def test_an_import_against_the_way_is_found(file, source):
    assert len(problems_of(source, Path(file))) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("events/store.py", "from lowerfunnel.events.schema import ACTIONS\nfrom . import schema\nimport duckdb"),
        ("evaluation/report.py", "from lowerfunnel.labels.build import x\nfrom lowerfunnel.index import exact"),
        ("losses/softmax.py", "import math\nimport torch.nn.functional\nfrom jaxtyping import Float"),
        ("cli/main.py", "from lowerfunnel import __version__\nfrom lowerfunnel.world import WorldConfig"),
        ("labels/build.py", "from lowerfunnel.config import load_settings\nfrom lowerfunnel.errors import DataError"),
    ],
)
def test_an_import_along_the_way_is_not(file, source):
    assert problems_of(source, Path(file)) == []
