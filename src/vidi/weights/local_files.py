"""Files of weights in a published format that are not in the table of published ones: one's own, or from elsewhere.

file -> what it holds -> the layouts of the model that recognise it -> ours -> strict load
"""

from pathlib import Path
from typing import Any

from vidi import files
from vidi.model import Saved
from vidi.weights.loading import load_tensors
from vidi.weights.reading import read_tensors
from vidi.weights.table import PUBLISHED, layouts_of, order_of

UNNAMED = ".weights"  # Darknet's files


def usual_arguments(name: str, path: Path) -> dict[str, Any]:
    """Return the arguments that a builder needs for most files of its publishers: as trained, with the names.

    Raises:
        FileNotFoundError, ValueError: if the file has to be looked into, and is not there or damaged.
    """
    if path.suffix == UNNAMED:
        categories = order_of(name).categories
        return {} if categories is None else {"categories": categories()}
    row = next((row for row in PUBLISHED.values() if row.model == name), None)
    if row is not None:
        return {**row.arguments, "categories": row.categories()}
    asking = [layout for layout in layouts_of(name) if layout.arguments]
    held = read_tensors(path) if asking else {}
    return next((dict(layout.arguments) for layout in asking if layout.recognises(held)), {})


def load_file(model: Saved, name: str, path: Path, *, new_head: bool = False) -> str:
    """Load a file into a model of the catalogue, and return whose layout it has.

    The preprocessing stays as it is, for files do not tell it. Nor do they tell what tensors do not show: vision
    transformers of transformers have norms with an eps of 1e-12, an argument of the builder.

    Args:
        model: what the builder made, with the sizes of the file, but for those of the images.
        name: of the builder.
        path: Darknet's `.weights`, safetensors, or what torch saved: named tensors, also under "model" or "state_dict".
        new_head: leave the layers that depend on the categories as they are, to train them for others; a Darknet file
            has always its own.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, or nobody's whose names are known, or does not fit; the model is then as it
            was.
    """
    if path.suffix == UNNAMED:
        held, layouts = files.read_bytes(path), [order_of(name)]
    else:
        held, known = read_tensors(path), layouts_of(name)
        layouts = [layout for layout in known if layout.recognises(held)] or known
    faults: dict[str, None] = {}
    for layout in layouts:
        try:
            load_tensors(model, held, layout, new_head=new_head)
        except ValueError as error:
            faults[f"as {layout.publisher}'s: {error}"] = None
        else:
            return layout.publisher
    reasons = "; ".join(faults) or f"{name} has no published weights whose names could be read"
    raise ValueError(f"{path} does not fit {name}: {reasons}")
