"""The architecture, kept by a test: imports run one way, and starting is cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "tailshard"

# From the foundation to the roof: a module may import only from the storeys below its own.
STOREYS = (
    (
        "errors",
        "places",
        "object_store",
        "checked",
        "progress",
        "registry",
        "parts",
        "chains",
        "fingerprint",
        "naming",
        "__init__",
    ),
    ("data_taking", "correction"),
    ("learning", "cuts", "inference"),
    ("tuning",),
    ("config",),
    ("stages",),
    ("pipeline_files", "terminal", "ledger", "launch", "toys"),
    ("events",),
    ("features",),
    ("ntuples",),
    ("store",),
    ("models",),
    ("train",),
    ("search",),
    ("tune",),
    ("report",),
    ("stress",),
    ("ingest",),
    ("extrapolation", "keys", "monitoring"),
    ("pipeline",),
    ("blind",),
    ("options", "updating", "submitting"),
    ("robustness", "stores"),
    ("verbs", "show", "robustness_cli"),
    ("cli",),
    ("__main__",),
)
STOREY = {name: number for number, names in enumerate(STOREYS) for name in names}

MODULES = sorted(SOURCE.rglob("*.py"))


def _imported(path: Path) -> set[str]:
    """Top-level names below tailshard that a module imports, wherever in its body."""
    package = ("tailshard", *path.relative_to(SOURCE).with_suffix("").parts)[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            target = (*base, *(node.module or "").split(".")) if node.module else base
            if target[0] == "tailshard":
                names = [target[1]] if len(target) > 1 else [alias.name for alias in node.names]
                found.update(names)
        elif isinstance(node, ast.Import):
            found.update(
                alias.name.split(".")[1] for alias in node.names if alias.name.startswith("tailshard.")
            )
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_one_way(path: Path) -> None:
    here = path.relative_to(SOURCE).with_suffix("").parts[0]
    upward = {
        name for name in _imported(path) if name != here and STOREY[name] >= STOREY[here] and name != "errors"
    }
    same = {name for name in upward if STOREY[name] == STOREY[here]}
    assert not upward - same, f"{path.name} imports from a storey above its own"
    assert not same or STOREY[here] == 0, f"{path.name} imports a neighbour of its own storey"


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("tailshard.cli", {"numpy", "torch", "ray", "dask", "awkward", "zarr", "pydantic", "rich"}),
        ("tailshard.ingest", {"torch", "ray", "matplotlib"}),
        ("tailshard.toys", {"torch", "ray", "matplotlib", "dask"}),
    ],
)
def test_a_module_does_not_import_what_it_does_not_need(module: str, heavy: set[str]) -> None:
    script = f"import sys, {module}; print(*(name for name in {sorted(heavy)!r} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_modules_stay_small() -> None:
    long = {path.name: len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in long.items() if lines > 350} == {}
