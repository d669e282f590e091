"""The alarms of closure and shape: `python -m tests.architecture.report`. They are to be read, and fail nothing.

A system's closure is every file of the package that it imports, directly or not: what a reader may have to open.
"""

import ast

from tests.architecture.sources import closure, functions, modules, sources

SYSTEM_FLOORS = ("segmentation", "depth", "generative", "detection", "embedding", "backbones")
CLOSURE_FILES, CLOSURE_LINES = 12, 2500
FUNCTION_LINES, FUNCTION_LINES_P90, FILE_LINES, PARAMETERS = 80, 40, 500, 12


def report() -> str:
    """Write the whole report, as text."""
    return "\n\n".join((closures(), long_functions(), long_files(), wide_constructors()))


def closures() -> str:
    """List each system's closure, the largest first; `!` marks those above the limits."""
    systems = [s.module for s in sources() if s.module.split(".")[1:2] and s.module.split(".")[1] in SYSTEM_FLOORS]
    rows = []
    for system in (s for s in systems if not modules()[s].is_package):
        files = closure(system)
        lines = sum(len(modules()[name].text.splitlines()) for name in files)
        mark = "!" if len(files) > CLOSURE_FILES or lines > CLOSURE_LINES else " "
        rows.append((lines, f"  {mark} {len(files):3d} files {lines:6d} lines  {system}"))
    title = f"closure per system (alarm above {CLOSURE_FILES} files or {CLOSURE_LINES} lines; composites 20 or 4500)"
    return "\n".join([title, *(row for _, row in sorted(rows, reverse=True))])


def long_functions() -> str:
    """Give the 90th percentile of function length and the functions above the limit."""
    found = sorted(((lines, name) for source in sources() for name, _, lines in functions(source)), reverse=True)
    ninetieth = found[len(found) // 10][0] if found else 0
    title = f"functions: {len(found)}, 90th percentile {ninetieth} lines (alarm above {FUNCTION_LINES_P90})"
    return "\n".join([title, *(f"  ! {lines:4d} lines  {name}" for lines, name in found if lines > FUNCTION_LINES)])


def long_files() -> str:
    """List the files above the limit."""
    sizes = sorted(((len(s.text.splitlines()), str(s.path)) for s in sources()), reverse=True)
    title = f"files: {len(sizes)}, {sum(lines for lines, _ in sizes)} lines (alarm above {FILE_LINES})"
    return "\n".join([title, *(f"  ! {lines:4d} lines  {path}" for lines, path in sizes if lines > FILE_LINES)])


def wide_constructors() -> str:
    """List the constructors with more parameters than the limit, `self` not counted."""
    rows = []
    for source in sources():
        for name, node, _ in functions(source):
            if node.name == "__init__" and (count := _parameters(node.args)) > PARAMETERS:
                rows.append(f"  ! {count:4d} parameters  {name}")
    return "\n".join([f"constructors above {PARAMETERS} parameters: {len(rows)}", *rows])


def _parameters(arguments: ast.arguments) -> int:
    return len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs) - 1


if __name__ == "__main__":
    print(report())
