"""Habits of the code that no linter knows: where it prints, asserts and touches the disk."""

import ast
import re
from collections.abc import Iterator

from tests.architecture.sources import Source, sources

UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")

# A call writes (or decodes unguarded) by its own name, or by its name on one of these modules.
DISK = {
    *("write_text", "write_bytes", "savez", "savez_compressed", "savetxt", "savefig", "imsave", "imwrite", "tofile"),
    *("write_png", "write_jpeg", "write_file", "save_file", "to_csv", "decode_image", "read_file", "safe_open"),
}
DISK_OF_MODULE = {"save", "load", "open", "dump", "fromfile", "load_file", "imread"}
MODULES = {"torch", "np", "numpy", "json", "PIL", "Image", "io", "os", "pickle", "gzip", "plt", "safetensors", "csv"}

# Streams handed in by a caller are not the disk: these files may encode into memory.
MAY_ENCODE = {"src/vidi/files.py"}


def test_errors_are_exceptions_with_messages():
    faults = [
        s.at(n, "assert: raise ValueError") for s in sources() for n in ast.walk(s.tree) if isinstance(n, ast.Assert)
    ]
    assert not faults, "\n".join(faults)


def test_only_the_command_line_prints_and_exits():
    faults = [
        source.at(node, f"{name}() outside cli/")
        for source in sources()
        if not source.module.startswith("vidi.cli") and source.module != "vidi.__main__"
        for node, name in calls(source)
        if name in {"print", "exit", "quit", "sys.exit", "os._exit", "pprint", "breakpoint"}
    ]
    assert not faults, "\n".join(faults)


def test_nothing_is_left_unfinished():
    lines = [
        (s, i, line) for s in sources() for i, line in enumerate(s.text.splitlines(), 1) if UNFINISHED.search(line)
    ]
    faults = [f"{source.path}:{number}: {line.strip()}" for source, number, line in lines]
    assert not faults, "\n".join(faults)


def test_only_files_py_touches_the_disk():
    faults = [
        source.at(node, f"{name}(): go through vidi.files")
        for source in sources()
        if str(source.path) not in MAY_ENCODE
        for node, name in calls(source)
        if touches_disk(node, name)
    ]
    assert not faults, "\n".join(faults)


def calls(source: Source) -> Iterator[tuple[ast.Call, str]]:
    """Yield every call with the dotted text of what is called."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def touches_disk(node: ast.Call, name: str) -> bool:
    """Tell whether a call reads or writes a file by itself; vidi.files' own functions do not count."""
    owner, _, last = name.rpartition(".")
    if owner.split(".")[-1] == "files":
        return False
    if name == "open" or (last in DISK and owner):
        return True
    made_here = isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Call)
    return last in DISK_OF_MODULE and (owner.split(".")[0] in MODULES or (made_here and owner.startswith("Image")))


def test_the_disk_rule_finds_what_it_forbids():
    forbidden = (
        "open(p)\npath.write_text(t)\nnp.save(p, x)\ntorch.save(x, p)\nImage.fromarray(x).save(p)\nPIL.Image.open(p)"
    )
    allowed = "files.write_text(p, t)\nmodel.save(p)\nwrite_text(p, t)\nself.parts.load(p)"
    for text, expected in ((forbidden, True), (allowed, False)):
        nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        outer = [node for node in nodes if ast.unparse(node.func) != "Image.fromarray"]
        assert {touches_disk(node, ast.unparse(node.func)) for node in outer} == {expected}, text
