"""Cascades in OpenCV's XML: `opencv-cascade-classifier` is read and written, the older `opencv-haar-classifier` read.

So detectors that people have run here, and ours run in `cv2.CascadeClassifier`. Trees of any depth and tilted features
are read; features other than Haar's are refused, and so are document type declarations (and with them entities and
external files), files that are not complete, and numbers that are none: the message says where.

    file -> elements -> flat arrays of `Cascade` (whose checks find what does not fit together)
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from vidi import files
from vidi.data.readers.voc_xml import parse_xml
from vidi.detection.viola_jones.cascade import Cascade
from vidi.detection.viola_jones.haar import HaarFeatures

MOST_RECTANGLES = 3


class _Tree(NamedTuple):
    """One weak classifier: nodes (below, not below, feature, threshold) and the votes of its leaves."""

    nodes: list[tuple[int, int, int, float]]
    leaves: list[float]


class _Feature(NamedTuple):
    rectangles: list[tuple[int, int, int, int]]
    weights: list[float]
    tilted: bool


class _StageOfTrees(NamedTuple):
    threshold: float
    trees: list[_Tree]


def read_cascade(path: str | Path) -> Cascade:
    """Read a cascade of Haar features from OpenCV's XML, in its present or in its older form.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: with file and line, for a file that is no such cascade.
    """
    path = Path(path)
    root = parse_xml(path)
    reader = _Reader(path)
    if root.tag != "opencv_storage":
        raise reader.fault(root, f"the outermost element is <{root.tag}>, expected <opencv_storage>")
    for element in root:
        kind = element.get("type_id", "")
        # some writers leave the type out
        if kind == "opencv-cascade-classifier" or (not kind and element.find("featureType") is not None):
            return reader.present_form(element)
        if kind == "opencv-haar-classifier":
            return reader.older_form(element)
    kinds = ", ".join(element.get("type_id", element.tag) for element in root) or "nothing"
    raise reader.fault(root, f"holds {kinds}, expected opencv-cascade-classifier or opencv-haar-classifier")


class _Reader:
    """Reads elements; every complaint names file and line."""

    def __init__(self, path: Path):
        self.path = path

    def fault(self, element: Element, message: str) -> ValueError:
        return ValueError(f"{self.path}, line {element.get('line', '?')}: {message}")

    def child(self, element: Element, tag: str) -> Element:
        found = element.find(tag)
        if found is None:
            raise self.fault(element, f"<{element.tag}> has no <{tag}>")
        return found

    def children(self, element: Element, tag: str) -> list[Element]:
        """Return the items of a sequence, of which there is at least one."""
        items = self.child(element, tag).findall("_")
        if not items:
            raise self.fault(self.child(element, tag), f"<{tag}> is empty")
        return items

    def numbers(self, element: Element) -> list[float]:
        try:
            numbers = [float(word) for word in (element.text or "").split()]
        except ValueError:
            numbers = [float("nan")]
        if not np.isfinite(numbers).all() or np.abs(numbers).max(initial=0) > 1e30:
            raise self.fault(element, f"<{element.tag}> holds {(element.text or '').strip()[:60]!r}, expected numbers")
        return numbers

    def number(self, element: Element, tag: str) -> float:
        found = self.child(element, tag)
        numbers = self.numbers(found)
        if len(numbers) != 1:
            raise self.fault(found, f"<{tag}> holds {len(numbers)} numbers, expected one")
        return numbers[0]

    def whole(self, element: Element, value: float) -> int:
        if value != int(value) or abs(value) > 1e6:
            raise self.fault(element, f"<{element.tag}> holds {value}, expected a whole number")
        return int(value)

    def whole_number(self, element: Element, tag: str) -> int:
        return self.whole(self.child(element, tag), self.number(element, tag))

    def word(self, element: Element, tag: str, expected: str) -> None:
        word = (self.child(element, tag).text or "").strip()
        if word != expected:
            raise self.fault(self.child(element, tag), f"<{tag}> is {word!r}; only {expected} is read")

    def built(self, element: Element, build: Callable[[], Cascade]) -> Cascade:
        """Return what `build` makes; if its parts do not fit together, name the file."""
        try:
            return build()
        except ValueError as error:
            raise self.fault(element, str(error)) from None

    # ---------------------------------------------------------------------------------------------- the present form

    def present_form(self, element: Element) -> Cascade:
        self.word(element, "stageType", "BOOST")
        self.word(element, "featureType", "HAAR")
        window = (self.whole_number(element, "height"), self.whole_number(element, "width"))
        stages = [
            _StageOfTrees(
                self.number(stage, "stageThreshold"),
                [self.tree(tree) for tree in self.children(stage, "weakClassifiers")],
            )
            for stage in self.children(element, "stages")
        ]
        features = [self.feature(item) for item in self.children(element, "features")]
        return self.built(element, lambda: _laid_out(window, stages, features))

    def tree(self, element: Element) -> _Tree:
        inner = self.child(element, "internalNodes")
        numbers, leaves = self.numbers(inner), self.numbers(self.child(element, "leafValues"))
        if not numbers or len(numbers) % 4:
            raise self.fault(inner, f"<internalNodes> holds {len(numbers)} numbers, expected four a node")
        nodes = [
            (self.whole(inner, below), self.whole(inner, above), self.whole(inner, feature), threshold)
            for below, above, feature, threshold in np.reshape(numbers, (-1, 4)).tolist()
        ]
        if len(leaves) != len(nodes) + 1:
            raise self.fault(element, f"{len(leaves)} leaves for {len(nodes)} nodes, expected one more than nodes")
        return _Tree(nodes, leaves)

    def feature(self, element: Element) -> _Feature:
        items = self.children(element, "rects")
        if len(items) > MOST_RECTANGLES:
            raise self.fault(element, f"a feature of {len(items)} rectangles, expected at most {MOST_RECTANGLES}")
        rectangles, weights = [], []
        for item in items:
            numbers = self.numbers(item)
            if len(numbers) != 5:
                raise self.fault(item, f"a rectangle of {len(numbers)} numbers, expected x y width height weight")
            x, y, width, height = (self.whole(item, number) for number in numbers[:4])
            rectangles.append((x, y, width, height))
            weights.append(numbers[4])
        tilted = element.find("tilted") is not None and self.number(element, "tilted") != 0
        return _Feature(rectangles, weights, tilted)

    # ---------------------------------------------------------------------------------------------- the older form

    def older_form(self, element: Element) -> Cascade:
        size = self.numbers(self.child(element, "size"))
        if len(size) != 2:
            raise self.fault(self.child(element, "size"), f"<size> holds {len(size)} numbers, expected width height")
        width, height = (self.whole(self.child(element, "size"), side) for side in size)
        features: list[_Feature] = []
        stages = [
            _StageOfTrees(
                self.number(stage, "stage_threshold"),
                [self.older_tree(tree, features) for tree in self.children(stage, "trees")],
            )
            for stage in self.children(element, "stages")
        ]
        return self.built(element, lambda: _laid_out((height, width), stages, features))

    def older_tree(self, element: Element, features: list[_Feature]) -> _Tree:
        """Read a tree whose nodes carry their features, which are added to `features`."""
        nodes, leaves = [], []
        for node in element.findall("_"):
            children = []
            for side in ("left", "right"):
                if node.find(f"{side}_val") is not None:
                    children.append(-len(leaves))
                    leaves.append(self.number(node, f"{side}_val"))
                else:
                    children.append(self.whole_number(node, f"{side}_node"))
            nodes.append((children[0], children[1], len(features), self.number(node, "threshold")))
            features.append(self.feature(self.child(node, "feature")))
        if not nodes:
            raise self.fault(element, "a tree without nodes")
        if len(leaves) != len(nodes) + 1:
            raise self.fault(element, f"{len(leaves)} leaves for {len(nodes)} nodes, expected one more than nodes")
        return _Tree(nodes, leaves)


def _laid_out(window: tuple[int, int], stages: Sequence[_StageOfTrees], features: Sequence[_Feature]) -> Cascade:
    """Turn stages and features into the flat arrays of a cascade."""
    trees = [tree for stage in stages for tree in stage.trees]
    nodes = [node for tree in trees for node in tree.nodes]
    rectangles = np.zeros((len(features), MOST_RECTANGLES, 4), np.int32)
    weights = np.zeros((len(features), MOST_RECTANGLES), np.float32)
    for row, feature in enumerate(features):
        rectangles[row, : len(feature.rectangles)] = feature.rectangles
        weights[row, : len(feature.weights)] = feature.weights
    return Cascade(
        window,
        np.array([len(stage.trees) for stage in stages], np.int32),
        np.array([stage.threshold for stage in stages], np.float32),
        np.array([len(tree.nodes) for tree in trees], np.int32),
        np.array([node[2] for node in nodes], np.int32),
        np.array([node[3] for node in nodes], np.float32),
        np.array([node[:2] for node in nodes], np.int32),
        np.array([leaf for tree in trees for leaf in tree.leaves], np.float32),
        HaarFeatures(rectangles, weights, np.array([feature.tilted for feature in features], bool)),
    )


# ----------------------------------------------------------------------------------------------------------------------
# Writing


def write_cascade(path: str | Path, cascade: Cascade) -> None:
    """Write a cascade in OpenCV's present form; reading it gives the same to the last bit.

    Raises:
        ValueError: for a cascade without stages, which OpenCV does not read.
    """
    if len(cascade) == 0:
        raise ValueError("received a cascade without stages, expected one stage or more")
    files.write_text(path, "\n".join(_lines(cascade)) + "\n")


def _lines(cascade: Cascade) -> Iterator[str]:
    most = int(cascade.stage_trees.max())
    yield '<?xml version="1.0"?>'
    yield "<opencv_storage>"
    yield '<cascade type_id="opencv-cascade-classifier">'
    yield "  <stageType>BOOST</stageType>"
    yield "  <featureType>HAAR</featureType>"
    yield f"  <height>{cascade.window[0]}</height>"
    yield f"  <width>{cascade.window[1]}</width>"
    yield f"  <stageParams><maxWeakCount>{most}</maxWeakCount></stageParams>"
    yield "  <featureParams><maxCatCount>0</maxCatCount></featureParams>"
    yield f"  <stageNum>{len(cascade)}</stageNum>"
    yield "  <stages>"
    tree = node = leaf = 0
    for trees, threshold in zip(cascade.stage_trees.tolist(), cascade.stage_thresholds, strict=True):
        yield f"    <_><maxWeakCount>{trees}</maxWeakCount><stageThreshold>{_exact(threshold)}</stageThreshold>"
        yield "      <weakClassifiers>"
        for size in cascade.tree_nodes[tree : tree + trees].tolist():
            rows = range(node, node + size)
            inner = " ".join(
                f"{cascade.node_children[n, 0]} {cascade.node_children[n, 1]} {cascade.node_features[n]} "
                f"{_exact(cascade.node_thresholds[n])}"
                for n in rows
            )
            votes = " ".join(_exact(vote) for vote in cascade.leaves[leaf : leaf + size + 1])
            yield f"        <_><internalNodes>{inner}</internalNodes><leafValues>{votes}</leafValues></_>"
            node, leaf = node + size, leaf + size + 1
        yield "      </weakClassifiers></_>"
        tree += trees
    yield "  </stages>"
    yield "  <features>"
    features = cascade.features
    for rectangles, weights, tilted in zip(features.rectangles, features.weights, features.tilted, strict=True):
        # OpenCV takes the first two rectangles in any case
        used = [k for k in range(MOST_RECTANGLES) if k < 2 or weights[k] != 0]
        rows = "".join(f"<_>{' '.join(map(str, rectangles[k].tolist()))} {_exact(weights[k])}</_>" for k in used)
        yield f"    <_><rects>{rows}</rects><tilted>{int(tilted)}</tilted></_>"
    yield "  </features>"
    yield "</cascade>"
    yield "</opencv_storage>"


def _exact(number: np.floating) -> str:
    """Write a float32 so that it is read again as the same one; OpenCV wants a point in it."""
    return f"{float(number):.16e}"
