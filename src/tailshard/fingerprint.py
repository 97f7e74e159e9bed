"""What a stage's code says: a hash that changes with it, so that nobody has to remember to tell."""

import ast
import hashlib
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent


@cache
def fingerprint(module: str, package: Path = _PACKAGE) -> str:
    """Give 16 hexadecimal digits that change with the code that a module runs.

    That is the module and everything of tailshard that it imports, wherever in its body, and what else
    lies in their folders (the template of the page). Comments, docstrings and layout do not count. Nor do
    the modules at the top of the package: what they describe, such as a pipeline, is in the key of
    an output by its values.

    Parameters
    ----------
    module
        Below tailshard, such as ``ingest.stage``.
    package
        Folder of tailshard.
    """
    seen: dict[Path, str] = {}
    todo = [_file(package, tuple(module.split(".")))]
    while todo:
        path = todo.pop()
        if path is None or path in seen or path.parent == package:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        todo += [_file(package, target) for target in _imports(tree, path.relative_to(package).parent.parts)]
        seen[path] = ast.unparse(_WithoutDocstrings().visit(tree))
    for folder in {path.parent for path in seen}:
        for path in folder.iterdir():
            if path.is_file() and path.suffix not in (".py", ".pyc"):
                seen[path] = path.read_text(encoding="utf-8")
    digest = hashlib.sha256()
    for path in sorted(seen):
        digest.update(f"{path.relative_to(package).as_posix()}\0{seen[path]}\0".encode())
    return digest.hexdigest()[:16]


def _file(package: Path, target: tuple[str, ...]) -> Path | None:
    """File of a module or package; None for what is a name inside one."""
    place = package.joinpath(*target)
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None


def _imports(tree: ast.Module, here: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Everything below tailshard that a module may import, from a package of these names."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = here[: len(here) + 1 - node.level]
            base = (*above, *(node.module or "").split(".")) if node.module else above
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "tailshard":
            base = tuple((node.module or "").split(".")[1:])
        else:
            continue
        found += [base, *((*base, alias.name) for alias in node.names)]
        found += [base[:length] for length in range(1, len(base))]
    return [target for target in found if target]


class _WithoutDocstrings(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else node
