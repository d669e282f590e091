"""Imports: `__init__.py` files only hand names on, the package names defining modules, and starting it stays light.

The order of the floors and the absence of cycles are import-linter's business (`make imports`).
"""

import ast
import json
from pathlib import Path

from tests.architecture.sources import FunctionNode, Source, functions, imported_names, modules, sources, walk_at_import

HEAVY = ("torch", "torchvision", "matplotlib", "numba", "scipy", "accelerate", "pycocotools")
LAZY_HOOKS = {"__getattr__", "__dir__"}


def test_init_files_hand_names_on_and_do_nothing_else():
    faults = [
        source.at(node, "an __init__.py only imports and lists names")
        for source in sources()
        if source.is_package
        for node in source.tree.body
        if not _hands_on(node)
    ]
    assert not faults, "\n".join(faults)


def _hands_on(node: ast.stmt) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom():
            return True
        case ast.Expr(value=ast.Constant(value=str())):
            return True
        case ast.Assign() | ast.AnnAssign():  # __all__, the table of a lazy face
            return not any(isinstance(n, (ast.Call, ast.comprehension)) for n in ast.walk(node))
        case ast.FunctionDef(name=name):
            return name in LAZY_HOOKS
        case ast.If(test=test, body=body, orelse=[]):
            return ast.unparse(test).endswith("TYPE_CHECKING") and all(map(_hands_on, body))
    return False


def test_the_package_imports_defining_modules():
    faults = [fault for source in sources() if not source.is_package for fault in indirect_imports(source)]
    assert not faults, "\n".join(faults)


def indirect_imports(source: Source) -> list[str]:
    """List the imports that reach a name of the package through a file that does not define it."""
    faults = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            names = [name for name in imported_names(node) if name.split(".")[0] == "vidi"]
            faults += [source.at(node, f"import {name}") for name in names if modules()[name].is_package]
        elif isinstance(node, ast.ImportFrom) and node.level:
            faults.append(source.at(node, "relative import: write the module's full name"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vidi":
            wrong = [alias.name for alias in node.names if not _is_defined(node.module or "", alias.name)]
            faults += [source.at(node, f"{name} is not defined in {node.module}") for name in wrong]
    return faults


def _is_defined(module: str, name: str) -> bool:
    if f"{module}.{name}" in modules():
        return True
    target = modules().get(module)
    return target is not None and not target.is_package and name in definitions(target)


def definitions(source: Source) -> set[str]:
    """Return the names that a module defines itself at its top level."""
    names = set()
    for node in walk_at_import(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


NETWORKS = ("nn", "backbones", "necks", "detection", "embedding", "translation", "segmentation", "depth", "generative")


def test_networks_know_no_task():
    faults = [
        source.at(node, f"a network imports {name}")
        for source in sources()
        if source.module.split(".")[1:2] and source.module.split(".")[1] in NETWORKS
        for node in ast.walk(source.tree)
        for name in imported_names(node)
        if name.split(".")[:2] == ["vidi", "tasks"]
    ]
    assert not faults, "\n".join(faults)


def test_the_import_rule_finds_what_it_forbids():
    allowed = ["from vidi import files", "from vidi.model import Step", "import torch"]
    forbidden = ["import vidi.ops", "from vidi.ops import box_iou", "from . import model", "from vidi.model import nn"]
    text = "\n".join(allowed + forbidden)
    sample = Source(Path("sample.py"), "vidi.sample", text, ast.parse(text))
    assert [int(fault.split(":")[1]) for fault in indirect_imports(sample)] == [4, 5, 6, 7]


def test_files_are_named_for_what_they_hold():
    vague = {"utils", "util", "helpers", "helper", "misc", "common"}
    faults = [str(s.path) for s in sources() if vague & {part.removesuffix(".py") for part in s.path.parts}]
    assert not faults, faults


def test_starting_the_package_or_its_command_line_imports_nothing_heavy(run_python):
    names = [name for name in ("vidi", "vidi.cli.app", "vidi.__main__") if name in modules()]
    for name in names:
        code = f"import sys, json, {name}; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
        done = run_python("-c", code)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [], f"importing {name}"


def test_kernels_are_imported_inside_the_functions_that_call_them():
    faults = []
    for source in sources():
        if source.path.stem.endswith("_kernels"):
            continue
        faults += [source.at(n, "numba outside a *_kernels.py file") for n in ast.walk(source.tree) if _is_numba(n)]
        faults += [source.at(n, "kernels imported at the top") for n in walk_at_import(source.tree) if _is_kernels(n)]
    assert not faults, "\n".join(faults)


def _is_numba(node: ast.AST) -> bool:
    return any(name.split(".")[0] == "numba" for name in imported_names(node))


def _is_kernels(node: ast.AST) -> bool:
    return any(part.endswith("_kernels") for name in imported_names(node) for part in name.split("."))


def test_kernels_are_cached_and_kept_from_the_shape_checks():
    faults = [
        source.at(node, f"{node.name} needs @njit(cache=True) above @no_type_check")
        for source in sources()
        for _, node, _ in functions(source)
        if any("jit" in ast.unparse(decorator) for decorator in node.decorator_list) and not _is_kernel(node)
    ]
    assert not faults, "\n".join(faults)


def _is_kernel(node: FunctionNode) -> bool:
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    return len(decorators) == 2 and "cache=True" in decorators[0] and decorators[1] == "no_type_check"
