"""The package's source files as syntax trees, and the imports between them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "vidi"
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One file of the package."""

    path: Path  # relative to the repository
    module: str  # `vidi.ops.boxes`; a package's is its own name, without `__init__`
    text: str
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    def at(self, node: ast.AST, complaint: str) -> str:
        """Write a finding as an editor understands it."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {complaint}"


@cache
def sources() -> tuple[Source, ...]:
    """Parse every file of the package, once per process."""
    return tuple(parse(path) for path in sorted(PACKAGE.rglob("*.py")))


@cache
def modules() -> dict[str, Source]:
    """Map module names to files."""
    return {source.module: source for source in sources()}


def parse(path: Path) -> Source:
    """Read one file under src/."""
    relative = path.relative_to(ROOT)
    parts = relative.with_suffix("").parts[1:]
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    text = path.read_text(encoding="utf-8")
    return Source(relative, module, text, ast.parse(text, str(relative)))


def walk_at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk over what runs when the module is imported: no bodies of functions, no `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from node.orelse
            yield from (inner for statement in node.orelse for inner in walk_at_import(statement))
            continue
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from walk_at_import(node)


def imported_names(node: ast.AST) -> list[str]:
    """Return the dotted names that an import statement binds; empty for any other node."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
    return []


def imported_modules(source: Source) -> set[str]:
    """Return the files of the package that a file names in an import, wherever in the file it stands."""
    found = set()
    for node in ast.walk(source.tree):
        for name in imported_names(node):
            candidates = (name, name.rpartition(".")[0])
            found.update([next(c for c in candidates if c in modules())] if set(candidates) & modules().keys() else [])
    return found - {source.module}


def closure(module: str) -> set[str]:
    """Return the files that a reader may have to open to understand one file, itself included."""
    found, waiting = {module}, [module]
    while waiting:
        new = imported_modules(modules()[waiting.pop()]) - found
        found |= new
        waiting.extend(new)
    return {name for name in found if not modules()[name].is_package}


def functions(source: Source) -> Iterator[tuple[str, FunctionNode, int]]:
    """Yield (qualified name, node, lines) of every function and method; lines without the decorators."""
    yield from _functions(source.tree, source.module)


def _functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, FunctionNode, int]]:
    for node in ast.iter_child_nodes(tree):
        name = prefix
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            name = f"{prefix}.{node.name}"
        if isinstance(node, FunctionNode):
            yield name, node, (node.end_lineno or node.lineno) - node.lineno + 1
        yield from _functions(node, name)
