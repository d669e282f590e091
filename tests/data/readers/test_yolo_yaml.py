"""The yaml of a YOLO set: names and splits in every spelling in use; each message names the file."""

import pytest

from tests.data.readers.pictures import text
from vidi.data.readers.yolo_yaml import read_yolo_yaml, speaks_of_data, whole_number


def read(folder, content):
    found = read_yolo_yaml(text(folder / "data.yaml", content))
    assert found is not None
    return found


@pytest.mark.parametrize(
    "content",
    [
        "train: x\nnames: [dog, 'big cat']\nnc: 2\n",
        'names: ["dog",\n  "big cat"]\n',
        "names: [\n  'dog', # outside\n  'big cat'\n]\n",
        "names:\n- dog\n- big cat\nnc: 2",
        "nc: 2\nnames:\n  # ours\n  0: dog\n  1: 'big cat'  # tame\n",
        "names:\n  1: big cat\n  0: dog\npath: .\n",
        "names: {0: dog, 1: big cat}",
        "names: {0.0: dog, '1': big cat}\nnc: 2.0",
        "nc: 2\r\nnames:\r\n- dog\r\n- big cat\r\n",
        "names:\r\n  0: dog\r\n  1: big cat\r\n",
        "\ufeffnames: [dog, big cat]",
        "%YAML 1.1\n---\nnames: &names [dog, big cat]\nalso: *names\n",
    ],
)
def test_names(tmp_path, content):
    assert read(tmp_path, content).names == ("dog", "big cat")


def test_names_are_text_whatever_yaml_takes_them_for(tmp_path):
    assert read(tmp_path, "names: [no, on, 1, 2.50, null, 1:30, 2020-01-01]").names == (
        "no",
        "on",
        "1",
        "2.50",
        "null",
        "1:30",
        "2020-01-01",
    )


def test_a_count_without_names_gives_numbers(tmp_path):
    assert read(tmp_path, "nc: 3\n").names == ("0", "1", "2")
    assert read(tmp_path, "train: a\nval: b\n").names is None


def test_splits(tmp_path):
    found = read(tmp_path, "train: [images/a, images/b]\nvalid: v.txt\ntest:  # none\nnames: [x]\n")
    assert found.splits == {"train": ("images/a", "images/b"), "val": ("v.txt",)}
    assert (found.file, found.base, found.remarks) == (tmp_path / "data.yaml", tmp_path, ())
    assert read(tmp_path, "train: null\nval: ~\ntest: []\nnames: [x]").splits == {}


def test_a_path_that_is_there_is_the_base(tmp_path):
    (tmp_path / "set" / "yaml").mkdir(parents=True)
    assert read(tmp_path, "path: set\nnames: [x]").base == tmp_path / "set"
    assert read(tmp_path / "set" / "yaml", "path: ..\nnames: [x]").base.resolve() == tmp_path / "set"
    assert read(tmp_path, f"path: {tmp_path / 'set'}\nnames: [x]").base == tmp_path / "set"
    assert read(tmp_path, "path: set\\yaml\nnames: [x]").base == tmp_path / "set" / "yaml"


def test_a_path_of_another_machine_is_remarked(tmp_path):
    (tmp_path / "cells" / "sets").mkdir(parents=True)  # its last part alone is no proof
    found = read(tmp_path / "cells", "path: /content/drive/sets\nnames: [x]")
    assert found.base == tmp_path / "cells"
    assert [str(remark) for remark in found.remarks] == [
        f"{found.file}: path: /content/drive/sets is not there: paths begin at the folder of the yaml"
    ]
    assert read(tmp_path / "cells", "path: ../datasets/cells  # root\nnames: [x]").remarks == ()  # it is the yaml's own


def test_keypoints(tmp_path):
    assert read(tmp_path, "names: [person]\nkpt_shape: [17, 3]").points == (17, 3)
    assert read(tmp_path, "names: [person]").points is None


@pytest.mark.parametrize("content", ["lr: 0.1\n", "- a\n- b\n", "", "train: {epochs: 3}\nval: {size: 4}\nlr: 1"])
def test_other_yaml_is_left_alone(tmp_path, content):
    assert read_yolo_yaml(text(tmp_path / "a.yaml", content)) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("names: 3", "names: expected a list of names"),
        ("names:\n", "names: expected a list of names"),
        ("names: []", "names: expected a list of names"),
        ("names: {0: a, 2: b}", r"names: expected the numbers 0\.\.1, each once"),
        ("names: {a: b}", "names: expected a whole number, got 'a'"),
        ("names: [a, [b]]", "names: expected a text for each class"),
        ("names: [a, '']", "names: expected a text for each class"),
        ("nc: 3\nnames: [a, b]", "nc is 3, but names has 2 classes"),
        ("nc: few\nnames: [a, b]", "nc: expected a whole number, got 'few'"),
        ("nc: -1", "nc: expected a whole number"),
        ("nc: inf", "nc: expected a whole number"),
        ("names: [a]\ntrain: {a: b}", "train: expected a path or a list of paths"),
        ("names: [a]\ntrain: [a, [b]]", "train: expected a path or a list of paths"),
        ("names: [a]\nval: x\nvalid: y", "val and valid both say what val is"),
        ("names: [a]\npath: [x]", "path: expected a folder"),
        ("names: [a]\nkpt_shape: 17", "kpt_shape: expected"),
    ],
)
def test_what_cannot_be_meant_is_an_error_with_the_file(tmp_path, content, message):
    with pytest.raises(ValueError, match=rf"data\.yaml: {message}"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nc: 1\nnames: [a,\n", r"data\.yaml, line 3: "),
        ("nc: 1\nnames: [a]\nnc: 2\n", r"data\.yaml, line 3: 'nc' stands twice"),
        ("names:\n  0: a\n  0: b\n", r"data\.yaml, line 3: '0' stands twice"),
        ("names: !!python/object/apply:os.getcwd []", r"data\.yaml, line 1: could not determine a constructor"),
        ("names: [a\x07]", r"data\.yaml: .*special characters"),
        ("names: " + "[" * 5000, r"data\.yaml"),
        ("a: 1\n---\nnames: [a]\n", r"data\.yaml, line 2: "),
    ],
)
def test_bad_syntax_is_an_error_with_file_and_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, content)


def test_which_yaml_is_about_data(tmp_path):
    assert speaks_of_data(text(tmp_path / "a.yaml", "x: [\nnames : {{ names }}\n"))
    assert not speaks_of_data(text(tmp_path / "b.yaml", "my names: [\n  train: x\n"))


@pytest.mark.parametrize(("written", "number"), [("2", 2), ("2.0", 2), ("2e0", 2), ("-1", -1)])
def test_whole_numbers(written, number):
    assert whole_number(written) == number


@pytest.mark.parametrize("written", ["1.5", "nan", "inf", "x", ""])
def test_what_is_no_whole_number(written):
    with pytest.raises(ValueError, match=r"whole number|could not convert"):
        whole_number(written)
