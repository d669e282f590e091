"""Images with captions in tar archives."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image

from vidi import files
from vidi.data.faults import DataFaults
from vidi.data.readers.captions_jsonl import CaptionedImages
from vidi.data.recognise import open_dataset, recognise


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4), (number * 20, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def pack(path: Path, members: Mapping[str, bytes | str], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def pairs(first: int, count: int) -> dict[str, bytes | str]:
    return {
        name: content
        for n in range(first, first + count)
        for name, content in ((f"{n:04d}.png", png(n)), (f"{n:04d}.txt", f" text {n}\n"))
    }


def test_pairs_of_several_archives_are_read_in_any_order(tmp_path: Path) -> None:
    pack(tmp_path / "000.tar", {**pairs(0, 3), "sub/x.seg.png": png(0), "sub/x.PNG": png(9), "sub/x.txt": "nine"})
    texts = json.dumps({"caption": ["one", "zwei ☕"], "url": "x"})
    pack(tmp_path / "001.tar", {"a.json": texts, "a.png": png(5), "._a.png": "mac", "b.png": png(6), "b.txt": ""})
    found = recognise(tmp_path, needs=("caption",))
    assert found.format == "shards"
    assert "2 tar archives" in found.reason
    data = found.open("all")
    captions = [data[row][1]["caption"] for row in range(len(data))]
    assert captions == ["text 0", "text 1", "text 2", "nine", "one", "zwei ☕", ""]
    assert [int(data[row][0][0, 0, 0]) // 20 for row in reversed(range(7))] == [6, 5, 5, 9, 2, 1, 0]
    assert [int(data[row][1]["image_id"]) for row in range(7)] == [0, 1, 2, 3, 4, 4, 5]
    assert data.name(3) == f"{tmp_path / '000.tar'}, sub/x"
    assert len(recognise(tmp_path / "001.tar").open("all")) == 3


def test_they_are_what_files_and_lines_of_json_are(tmp_path: Path) -> None:
    pack(tmp_path / "000.tar", pairs(0, 12))
    lines = []
    for n in range(12):
        (tmp_path / f"{n:04d}.png").write_bytes(png(n))
        lines.append(json.dumps({"image": f"{n:04d}.png", "caption": f"text {n}"}))
    files.write_text(tmp_path / "c.jsonl", "\n".join(lines))
    one, other = open_dataset(tmp_path / "000.tar", "all"), CaptionedImages(tmp_path / "c.jsonl")
    for row in range(12):
        assert torch.equal(one[row][0], other[row][0])
        assert one[row][1]["caption"] == other[row][1]["caption"]
    parts = [recognise(tmp_path / "000.tar").open(split) for split in ("train", "val")]
    assert [len(part) for part in parts] == [11, 1]


def test_archives_named_like_splits_are_those(tmp_path: Path) -> None:
    for name, first, count in (("train-000", 0, 2), ("train-001", 2, 2), ("val-000", 4, 1)):
        pack(tmp_path / f"{name}.tar", pairs(first, count))
    found = recognise(tmp_path)
    assert [len(found.open(split)) for split in ("train", "val")] == [4, 1]
    pack(tmp_path / "more.tar", pairs(9, 1))
    with pytest.raises(ValueError, match=r"more.tar is named for no split"):
        recognise(tmp_path)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    members = {
        **pairs(0, 2),
        "a.png": png(0),
        "b.txt": "alone",
        "c.png": png(0),
        "c.txt": "x <end_of_text>",
        "d.png": png(0),
        "d.json": '{"caption": 3}',
        "e.png": png(0),
        "e.json": "{",
        "f.png": png(0),
        "f.txt": b"\xff\xfe",
    }
    pack(tmp_path / "0.tar", members)
    (tmp_path / "1.tar").write_bytes(b"junk" * 300)
    whole = pack(tmp_path / "2.tar", pairs(5, 2)).read_bytes()
    (tmp_path / "2.tar").write_bytes(whole[: whole.rindex(b"IHDR") + 10])
    with pytest.raises(DataFaults) as caught:
        open_dataset(tmp_path, "all")
    faults = [(Path(fault.file).name, fault.where) for fault in caught.value.faults]
    assert faults == [*(("0.tar", key) for key in "abcdef"), ("1.tar", ""), ("2.tar", "")]
    assert len(open_dataset(tmp_path, "all", on_fault="drop")) == 2


def test_other_archives_are_no_pairs(tmp_path: Path) -> None:
    for members in ({"a.txt": "text"}, {"a.png": png(0)}, {}):
        path = pack(tmp_path / "x.tar", members)
        with pytest.raises(
            ValueError, match=r"x\.tar: an archive: unpack it first, .*; shards hold KEY\.jpg and KEY\.txt"
        ):
            recognise(path)
    pack(tmp_path / "x.tar", pairs(0, 1), "w:gz")
    with pytest.raises(ValueError, match=r"shards: shards NAME\.tar"):
        recognise(tmp_path)


def test_a_part_beyond_the_end_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abcdef")
    assert files.read_part(tmp_path / "x", 2, 3) == b"cde"
    with pytest.raises(ValueError, match="ends after 6 bytes, expected 9"):
        files.read_part(tmp_path / "x", 4, 5)
