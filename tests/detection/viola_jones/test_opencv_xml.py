"""OpenCV's files: read, written, run there; malformed ones refused with a reason."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.closeness import assert_close
from tests.detection.viola_jones.cascades import astronaut, opencv_file, random_cascade
from vidi.detection.viola_jones.cascade import Cascade, same
from vidi.detection.viola_jones.opencv_xml import read_cascade, write_cascade
from vidi.detection.viola_jones.scanning import scan

FILES = sorted(path.stem.removeprefix("haarcascade_") for path in opencv_file("eye").parent.glob("haarcascade_*.xml"))
QUICK = ("eye", "frontalface_alt2", "lefteye_2splits")


def older_form(cascade: Cascade) -> str:
    """Write a cascade in the form before OpenCV 2.4."""
    lines = ["<opencv_storage><faces type_id='opencv-haar-classifier'>"]
    lines += [f"<size>{cascade.window[1]} {cascade.window[0]}</size><stages>"]
    tree = node = leaf = 0
    for number, trees in enumerate(cascade.stage_trees.tolist()):
        lines.append("<_><trees>")
        for size in cascade.tree_nodes[tree : tree + trees].tolist():
            lines.append("<_>")
            for n in range(node, node + size):
                row = cascade.node_features[n]
                rects = "".join(
                    f"<_>{' '.join(map(str, r))} {w:.9e}</_>"
                    for r, w in zip(cascade.features.rectangles[row], cascade.features.weights[row], strict=True)
                )
                tilted = int(cascade.features.tilted[row])
                lines.append(f"<_><feature><rects>{rects}</rects><tilted>{tilted}</tilted></feature>")
                lines.append(f"<threshold>{cascade.node_thresholds[n]:.9e}</threshold>")
                for side, child in zip(("left", "right"), cascade.node_children[n].tolist(), strict=True):
                    value = f"{cascade.leaves[leaf - child]:.9e}"
                    lines.append(
                        f"<{side}_node>{child}</{side}_node>" if child > 0 else f"<{side}_val>{value}</{side}_val>"
                    )
                lines.append("</_>")
            lines.append("</_>")
            node, leaf = node + size, leaf + size + 1
        threshold = f"{cascade.stage_thresholds[number]:.9e}"
        lines.append(f"</trees><stage_threshold>{threshold}</stage_threshold><parent>{number - 1}</parent></_>")
        tree += trees
    return "\n".join([*lines, "</stages></faces></opencv_storage>"])


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.extended) for n in FILES])
def test_what_is_written_is_read_again_to_the_last_bit(name, tmp_path: Path):
    cascade = read_cascade(opencv_file(name))
    theirs = cv2.CascadeClassifier(str(opencv_file(name)))
    assert theirs.getOriginalWindowSize() == cascade.window[::-1]
    write_cascade(tmp_path / "ours.xml", cascade)
    assert same(read_cascade(tmp_path / "ours.xml"), cascade)


@pytest.mark.system("4.2.3-CASCADE")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("depth", [1, 3])
def test_cascades_of_ours_run_in_opencv(seed, depth, tmp_path: Path):
    cascade = random_cascade(seed, depth=depth, tilted=depth > 1)
    write_cascade(tmp_path / "ours.xml", cascade)
    theirs = cv2.CascadeClassifier(str(tmp_path / "ours.xml"))
    assert not theirs.empty()
    image = cv2.resize(cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY), (97, 80))
    hits = scan(image, cascade, mode="image")
    expected = theirs.detectMultiScale(image, 1.1, 0)
    assert len(expected) > 0
    boxes = hits.boxes.copy()  # at the border rounded sizes reach beyond the image; OpenCV clips at the very end
    boxes[:, 2:] = np.minimum(boxes[:, 2:], np.array([97, 80]) - boxes[:, :2])
    assert sorted(map(tuple, boxes.tolist())) == sorted(map(tuple, np.asarray(expected).tolist()))


@pytest.mark.parametrize("depth", [1, 3])
def test_the_older_form_is_read(depth, tmp_path: Path):
    cascade = random_cascade(5, depth=depth)
    (tmp_path / "old.xml").write_text(older_form(cascade))
    old = read_cascade(tmp_path / "old.xml")
    image = cv2.resize(cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY), (97, 80))
    ours, again = scan(image, cascade, mode="image"), scan(image, old, mode="image")
    assert len(ours.boxes) > 0
    assert np.array_equal(ours.boxes, again.boxes)
    assert_close(ours.margins, again.margins, 1e-5)


GOOD = """<opencv_storage><cascade type_id="opencv-cascade-classifier"><stageType>BOOST</stageType>
<featureType>HAAR</featureType><height>9</height><width>8</width><stages>
<_><stageThreshold>0.5</stageThreshold><weakClassifiers>
<_><internalNodes>0 -1 0 0.1</internalNodes><leafValues>-1. 1.</leafValues></_></weakClassifiers></_></stages>
<features><_><rects><_>0 0 4 4 -1.</_><_>0 0 2 4 2.</_></rects></_></features></cascade></opencv_storage>"""


def test_a_minimal_file(tmp_path: Path):
    (tmp_path / "c.xml").write_text(GOOD)
    cascade = read_cascade(tmp_path / "c.xml")
    assert cascade.window == (9, 8)
    assert len(cascade) == 1
    assert cascade.features.weights.tolist() == [[-1, 2, 0]]
    (tmp_path / "untyped.xml").write_text(GOOD.replace(' type_id="opencv-cascade-classifier"', ""))
    assert same(read_cascade(tmp_path / "untyped.xml"), cascade)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "<opencv_storage>",
            "<!DOCTYPE a [<!ENTITY b 'c'>]><opencv_storage>",
            "document type declarations are refused",
        ),
        ("<opencv_storage>", "<!DOCTYPE a SYSTEM 'http://b/c.dtd'><opencv_storage>", "type declarations are refused"),
        ("opencv_storage>", "storage>", "expected <opencv_storage>"),
        ("-cascade-classifier", "-ml-svm", "holds opencv-ml-svm, expected opencv-cascade-classifier"),
        ("BOOST", "TREE", "only BOOST is read"),
        ("HAAR", "LBP", "only HAAR is read"),
        ("<width>8</width>", "", "has no <width>"),
        ("<width>8</width>", "<width>x</width>", "expected numbers"),
        ("<width>8</width>", "<width>8.5</width>", "expected a whole number"),
        ("<width>8</width>", "<width>-8</width>", "a window of -8 x 9"),
        ("<width>8</width>", "<width>3</width>", "feature 0 reaches beyond"),
        ("0 -1 0 0.1", "0 -1 0", "expected four a node"),
        ("0 -1 0 0.1", "0 -1 7 0.1", "a feature that is none of the 1"),
        ("0 -1 0 0.1", "0 0.5 0 0.1", "expected a whole number"),
        ("0 -1 0 0.1", "0 1 0 0.1", "node 0 has children"),
        ("0 -1 0 0.1", "0 -2 0 0.1", "node 0 has children"),
        ("0 -1 0 0.1", "0 -1 0 nan", "expected numbers"),
        ("-1. 1.", "-1.", "1 leaves for 1 nodes"),
        ("-1. 1.", "-1. 1e999", "expected numbers"),
        ("0 0 4 4 -1.", "0 0 4 4", "a rectangle of 4 numbers"),
        ("0 0 4 4 -1.", "-1 0 4 4 -1.", "reaches beyond"),
        ("<_>0 0 4 4 -1.</_><_>0 0 2 4 2.</_>", "", "<rects> is empty"),
        ("<_>0 0 2 4 2.</_>", "<_>0 0 2 4 2.</_>" * 3, "a feature of 4 rectangles"),
        ("</cascade>", "", "line 5: mismatched tag"),
        (GOOD, "", "no element found"),
        (GOOD, "not xml", "syntax error"),
        (GOOD, "<opencv_storage/>", "holds nothing"),
    ],
)
def test_malformed_files_are_refused_with_a_reason(old, new, message, tmp_path: Path):
    assert old in GOOD
    path = tmp_path / "bad.xml"
    path.write_text(GOOD.replace(old, new, 1) if old != "opencv_storage>" else GOOD.replace(old, new))
    with pytest.raises(ValueError, match=message) as caught:
        read_cascade(path)
    assert str(path) in str(caught.value)
    assert "line" in str(caught.value)


def test_no_file_and_no_stages(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"none\.xml"):
        read_cascade(tmp_path / "none.xml")
    with pytest.raises(ValueError, match="without stages"):
        write_cascade(tmp_path / "empty.xml", random_cascade(0).truncated(0))
