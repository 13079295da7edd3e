"""The rules of CONTRIBUTING.md that a machine can check, over the syntax tree of the whole package."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "lowerfunnel"
FILES = sorted(PACKAGE.rglob("*.py"))
EVERY_FILE = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))

FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {"eval", "exec", "hasattr", "torch.load", "torch.save", "pd.read_pickle", "__import__"}
FORBIDDEN_KEYWORDS = {"allow_pickle"}
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}
MOST_LINES = 400


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def forbidden_in(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom):
            imported = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name for name in imported if name.split(".")[0] in FORBIDDEN_MODULES | FORBIDDEN_CALLS]
            found += [name for name in imported if name in FORBIDDEN_CALLS or name == "__future__.annotations"]
        elif isinstance(node, ast.Call):
            found += [ast.unparse(node.func)] if ast.unparse(node.func) in FORBIDDEN_CALLS else []
            found += [keyword.arg for keyword in node.keywords if keyword.arg in FORBIDDEN_KEYWORDS]
        elif isinstance(node, ast.ExceptHandler) and _is_broad(node):
            found.append(f"broad except in line {node.lineno}")
    return found


def _is_broad(handler: ast.ExceptHandler) -> bool:
    """Whether it catches everything and does not raise again."""
    catches_all = handler.type is None or ast.unparse(handler.type) in {"Exception", "BaseException"}
    return catches_all and not any(isinstance(node, ast.Raise) for node in ast.walk(handler))


@EVERY_FILE
def test_nothing_is_unpickled_evaluated_or_asked_by_name(path):
    assert forbidden_in(tree_of(path)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "x = eval('1')",
        "hasattr(x, 'y')",
        "np.load(f, allow_pickle=True)",
        "torch.load(f)",
        "from torch import load",
        "from __future__ import annotations",
        "try:\n    f()\nexcept Exception:\n    pass",
    ],
)
def test_each_forbidden_thing_is_found(source):
    assert len(forbidden_in(ast.parse(source))) == 1


@pytest.mark.parametrize(
    "source",
    ["model.eval()", "try:\n    f()\nexcept Exception as e:\n    raise RunError() from e", "safetensors.load(f)"],
)
def test_what_only_looks_like_it_is_not(source):
    assert forbidden_in(ast.parse(source)) == []


@EVERY_FILE
def test_a_file_is_named_after_its_idea(path):
    parts = {part.removesuffix(".py") for part in path.relative_to(PACKAGE).parts}
    assert not parts & FORBIDDEN_NAMES
    assert len(path.relative_to(PACKAGE).parent.parts) <= 2, "two levels of folders, then stop"


@EVERY_FILE
def test_a_file_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@EVERY_FILE
def test_every_public_name_is_explained(path):
    tree = tree_of(path)
    unexplained = [] if ast.get_docstring(tree) else [path.name]
    definitions = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    public = [node for node in tree.body if isinstance(node, definitions) and not node.name.startswith("_")]
    unexplained += [node.name for node in public if not ast.get_docstring(node)]
    assert unexplained == []


IMPORT_EVERYTHING = """
import importlib, json, logging, os, random, sys, warnings
import numpy, torch, pyarrow, duckdb, ibis, pydantic
opened = []
watching = False
def watch(event, args):
    if not watching:
        return
    if event == "open" and isinstance(args[0], str) and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        if not args[0].endswith(".pyc") and ".pyc." not in args[0] and args[0] != os.devnull:
            opened.append(args[0])
    if event in ("socket.connect", "subprocess.Popen", "os.mkdir", "os.remove"):
        if not (event == "os.mkdir" and "__pycache__" in str(args[0])):
            opened.append(event + " " + str(args[0]))
sys.addaudithook(watch)
def state():
    return {
        "torch seed": torch.initial_seed(), "torch threads": torch.get_num_threads(),
        "torch dtype": str(torch.get_default_dtype()), "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch draws": torch.get_rng_state().sum().item(), "numpy draws": str(numpy.random.get_state()[1].sum()),
        "numpy errors": numpy.geterr(), "python draws": str(hash(random.getstate())),
        "log level": logging.root.level, "log handlers": len(logging.root.handlers),
        "own handlers": len(logging.getLogger("lowerfunnel").handlers), "folder": os.getcwd(),
        "arrow threads": pyarrow.cpu_count(), "environment": sorted(os.environ.items()),
    }
def own(before, after):
    return {k: [str(before[k])[:200], str(after[k])[:200]] for k in before if before[k] != after[k]}
changed = {}
for name in sys.argv[1:]:
    before, watching = state(), name.startswith("lowerfunnel")
    importlib.import_module(name)
    watching = False
    if own(before, state()) and name.startswith("lowerfunnel"):
        changed[name] = own(before, state())
print(json.dumps({"changed": changed, "opened": opened}))
"""


def third_parties() -> list[str]:
    """Other people's packages that any file imports at its top; what they do when imported is not ours to judge."""
    names = set()
    for path in FILES:
        for node in tree_of(path).body:
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                names.add(node.module)
    return sorted(n for n in names if n.split(".")[0] not in sys.stdlib_module_names | {"lowerfunnel"})


def what_importing_does(folder: Path, modules: list[str]) -> dict[str, object]:
    command = [sys.executable, "-W", "ignore", "-c", IMPORT_EVERYTHING, *third_parties(), *modules]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_does_nothing(tmp_path):
    modules = [
        ".".join(["lowerfunnel", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
        for path in FILES
        if path.name != "__main__.py"
    ]
    assert what_importing_does(tmp_path, modules) == {"changed": {}, "opened": []}
    assert list(tmp_path.iterdir()) == []


BUSY = {
    "torch seed": "import torch; torch.manual_seed(0)",
    "torch threads": "import torch; torch.set_num_threads(torch.get_num_threads() + 1)",
    "log handlers": "import logging; logging.basicConfig()",
    "environment": "import os; os.environ['A_SWITCH'] = '1'",
    "numpy draws": "import numpy; numpy.random.seed(1)",
}


def test_whatever_importing_does_is_found(tmp_path):
    for number, source in enumerate(BUSY.values()):
        (tmp_path / f"lowerfunnel_busy{number}.py").write_text(source)
    (tmp_path / "lowerfunnel_writes.py").write_text("open('out.txt', 'w').close()")
    names = [f"lowerfunnel_busy{number}" for number in range(len(BUSY))]
    done = what_importing_does(tmp_path, [*names, "lowerfunnel_writes"])
    assert done["opened"] == ["out.txt"]
    assert list(done["changed"]) == names
    assert [next(iter(found)) for found in done["changed"].values()] == list(BUSY)
