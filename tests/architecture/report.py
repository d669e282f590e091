"""The alarms of closure and shape: `python -m tests.architecture.report`. They are to be read, and fail nothing.

A system is a file in which a builder of the catalogue stands, with its family. Its closure is every file of the package
that it imports, directly or not: what a reader may have to open. What most systems need is ground that they share and
that is learnt once; the rest is a system's own.
"""

import ast
import inspect
from collections import Counter
from collections.abc import Iterable

from tests.architecture.sources import closure, functions, modules, sources

from vidi.catalog.table import CATALOG

CLOSURE_FILES, CLOSURE_LINES = 12, 2500
FUNCTION_LINES, FUNCTION_LINES_P90, FILE_LINES, PARAMETERS = 80, 40, 500, 12
AT_LEAST = 5  # rows of a list of the largest, also where none is above its limit


def report() -> str:
    """Write the whole report, as text."""
    parts = (closures(), wide_builders(), wide_constructors(), long_functions(), long_files())
    return "\n\n".join(parts)


def closures() -> str:
    """List the ground that most systems share, and each system's own closure, the largest first.

    `!` marks those above the limits; `alone` are the files of a closure that no other system needs.
    """
    needed = {system: closure(system) for system in sorted({row.builder.__module__ for row in CATALOG.values()})}
    uses = Counter(name for files in needed.values() for name in files)
    shared = {name for name, count in uses.items() if 2 * count > len(needed)}
    rows = []
    for system, files in needed.items():
        own, alone = {system, *files - shared}, {name for name in files if uses[name] == 1}
        mark = "!" if len(own) > CLOSURE_FILES or _lines(own) > CLOSURE_LINES else " "
        sizes = f"{len(own):3d} files {_lines(own):6d} lines, alone {len(alone):2d} files {_lines(alone):5d} lines"
        rows.append((_lines(own), f"  {mark} {sizes}  {system}"))
    ground = [f"    {uses[name]:4d} systems {_lines([name]):6d} lines  {name}" for name in sorted(shared)]
    return "\n".join(
        [
            f"shared ground of most of the {len(needed)} systems: {len(shared)} files, {_lines(shared)} lines",
            *ground,
            f"own closure (alarm above {CLOSURE_FILES} files or {CLOSURE_LINES} lines; composites 20 or 4500)",
            *(row for _, row in sorted(rows, reverse=True)),
        ]
    )


def wide_builders() -> str:
    """List the builders of the catalogue with more arguments than the limit, the widest first."""
    found = [(len(inspect.signature(row.builder).parameters), name) for name, row in CATALOG.items()]
    return _largest(f"builders: {len(found)}", "arguments", found, PARAMETERS, at_least=0)


def wide_constructors() -> str:
    """List the constructors with the most parameters, `self` not counted."""
    found = [
        (_parameters(node.args), name)
        for source in sources()
        for name, node, _ in functions(source)
        if node.name == "__init__"
    ]
    return _largest(f"constructors: {len(found)}", "parameters", found, PARAMETERS)


def long_functions() -> str:
    """Give the 90th percentile of function length, and the longest functions."""
    found = sorted(((lines, name) for source in sources() for name, _, lines in functions(source)), reverse=True)
    title = f"functions: {len(found)}, 90th percentile {found[len(found) // 10][0]} lines of {FUNCTION_LINES_P90}"
    return _largest(title, "lines", found, FUNCTION_LINES)


def long_files() -> str:
    """List the longest files."""
    found = [(len(source.text.splitlines()), str(source.path)) for source in sources()]
    return _largest(f"files: {len(found)}, {sum(lines for lines, _ in found)} lines", "lines", found, FILE_LINES)


def _largest(title: str, unit: str, found: Iterable[tuple[int, str]], limit: int, *, at_least: int = AT_LEAST) -> str:
    """List what is above a limit, marked by `!`, but no fewer rows than `at_least`."""
    ordered = sorted(found, reverse=True)
    above = sum(size > limit for size, _ in ordered)
    rows = [f"  {'!' if size > limit else ' '} {size:4d} {unit}  {name}" for size, name in ordered]
    return "\n".join([f"{title}; {above} above {limit} {unit}", *rows[: max(above, at_least)]])


def _lines(names: Iterable[str]) -> int:
    return sum(len(modules()[name].text.splitlines()) for name in names)


def _parameters(arguments: ast.arguments) -> int:
    return len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs) - 1


if __name__ == "__main__":
    print(report())
