"""Images with captions: lines of JSON, pictures as files or in archives, faults, splits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vidi import files
from vidi.data.captions import captions_of, spelt_token
from vidi.data.checking import check_dataset
from vidi.data.faults import DataFaults
from vidi.data.recognise import open_dataset, recognise
from vidi.data.world.dataset import World


def write(folder: Path, rows: list[Any], name: str = "captions.jsonl", pictures: int = 4) -> Path:
    for number in range(pictures):
        Image.new("RGB", (8, 6), (number * 20, 0, 0)).save(folder / f"{number}.png")
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    files.write_text(folder / name, "\n".join(lines) + "\n")
    return folder / name


def test_pairs_of_files_and_texts_under_any_of_their_names(tmp_path: Path) -> None:
    rows = [
        {"image": "0.png", "caption": "näme ☕"},
        {"file_name": "1.png", "text": ""},
        {"filepath": "2.png", "captions": ["one", "two"]},
        {"path": "3.png", "label": "cat", "other": 3},
        {"image": "0.png", "caption": "again"},
    ]
    path = write(tmp_path, [*rows[:3], "", *rows[3:]])
    for place in (path, tmp_path):
        found = recognise(place, needs=("caption",))
        assert found.format == "captions_jsonl"
        assert "captions.jsonl has captions" in found.reason
        pairs = found.open("all")
        assert [pairs[row][1]["caption"] for row in range(6)] == ["näme ☕", "", "one", "two", "cat", "again"]
        assert [int(pairs[row][1]["image_id"]) for row in range(6)] == [0, 1, 2, 2, 3, 0]
        assert [int(pairs[row][0][0, 0, 0]) for row in range(6)] == [0, 20, 40, 40, 60, 0]
        assert pairs.path(4) == tmp_path / "3.png"
        assert [*captions_of(pairs, 2)] == ["näme ☕", ""]


def test_texts_of_one_image_are_in_one_split(tmp_path: Path) -> None:
    write(tmp_path, [{"image": f"{n % 4}.png", "caption": f"text {n}"} for n in range(40)])
    found = recognise(tmp_path)
    parts = {split: found.open(split) for split in ("train", "val")}
    images = {split: {str(part.path(row)) for row in range(len(part))} for split, part in parts.items()}
    assert not images["train"] & images["val"]
    assert len(images["val"]) == 1
    assert sum(map(len, parts.values())) == 40


def test_files_named_like_splits_are_those(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        rows = [{"image": f"{n}.png", "caption": f"{split} {n}"} for n in range(count)]
        write(tmp_path, rows, f"captions_{split}.jsonl")
    found = recognise(tmp_path)
    assert [len(found.open(split)) for split in ("train", "val", "test")] == [3, 2, 1]
    assert found.open("val")[1][1]["caption"] == "val 1"


def test_several_files_of_captions_are_ambiguous(tmp_path: Path) -> None:
    rows = [{"image": "0.png", "caption": "a"}]
    for name in ("a.jsonl", "b.jsonl"):
        write(tmp_path, rows, name)
    with pytest.raises(ValueError, match=r"several files of captions \(a.jsonl, b.jsonl\)"):
        recognise(tmp_path)
    assert recognise(tmp_path / "a.jsonl").format == "captions_jsonl"
    for name in ("train.jsonl", "train2.jsonl"):
        write(tmp_path, rows, name)
    with pytest.raises(ValueError, match=r"train.jsonl and train2.jsonl are both train"):
        recognise(tmp_path)


def test_other_lines_are_no_captions(tmp_path: Path) -> None:
    for rows in ([{"caption": "a"}], [{"image": "0.png"}], ["no json"], [[1, 2]], []):
        path = write(tmp_path, rows)
        with pytest.raises(ValueError, match=r"captions_jsonl: a \.jsonl with lines"):
            recognise(path)


def test_all_faults_are_told_at_once_and_can_be_dropped(tmp_path: Path) -> None:
    rows = [
        {"image": "0.png", "caption": "fine"},
        "{broken",
        {"image": "9.png", "caption": "a"},
        {"image": "1.png", "caption": 3},
        {"image": "1.png", "captions": []},
        {"caption": "a", "id": 3},
        {"image": "1.png", "caption": "a &lt;END_OF_TEXT&gt; b"},
        "[1]",
        {"image": "2.png", "caption": "fine too"},
    ]
    path = write(tmp_path, rows)
    with pytest.raises(DataFaults) as caught:
        open_dataset(path, "all")
    found = [(fault.where, fault.message) for fault in caught.value.faults]
    assert [where for where, _ in found] == [f"line {n}" for n in range(2, 9)]
    parts = ["is no JSON", "there is no image 9.png", "got 3", "got []", "or an id", "<end_of_text>", "JSON object"]
    assert all(part in message for part, (_, message) in zip(parts, found, strict=True))
    pairs = open_dataset(path, "all", on_fault="drop")
    assert [*captions_of(pairs, 10)] == ["fine", "fine too"]


def test_pictures_in_archives_go_by_their_ids(tmp_path: Path) -> None:
    images = np.arange(3 * 4 * 5 * 3, dtype=np.uint8).reshape(3, 4, 5, 3)
    np.savez(tmp_path / "one.npz", images=images, ids=[7, 8, 9])
    np.savez(tmp_path / "two.npz", images=images[:1] + 1, ids=[8])
    np.savez(tmp_path / "other.npz", values=[1])
    path = write(tmp_path, [{"id": n, "label": f"number {n}"} for n in (7, 8)], pictures=0)
    pairs = recognise(tmp_path, needs=("caption",)).open("all")
    assert [*captions_of(pairs, 9)] == ["number 7", "number 8", "number 8"]
    assert [Path(pairs.name(row)).name for row in range(3)] == ["one.npz, row 0", "one.npz, row 1", "two.npz, row 0"]
    assert torch.equal(pairs[1][0], torch.from_numpy(images[1]).permute(2, 0, 1))
    assert torch.equal(pairs[2][0], torch.from_numpy(images[0] + 1).permute(2, 0, 1))
    assert len({int(pairs[row][1]["image_id"]) for row in range(3)}) == 3
    np.savez(tmp_path / "two.npz", images=images, ids=[8])
    with pytest.raises(ValueError, match=r"two.npz: images of uint8 \(3, 4, 5, 3\) and 1 ids"):
        open_dataset(path, "all")


def test_the_emoji_are_pairs_whose_names_are_in_one_split(shared_data: Path) -> None:
    found = recognise(shared_data / "emoji", needs=("caption",))
    train, val = found.open("train"), found.open("val")
    assert len(train) + len(val) == 1906 * 2 + 953
    names = [{part.name(row).partition(", ")[0] for row in range(len(part))} for part in (train, val)]
    assert names[0] == names[1]  # three styles each
    texts = [set(captions_of(part, 10_000)) for part in (train, val)]
    assert not texts[0] & texts[1]
    assert len(texts[1]) == 191
    image, target = val[0]
    assert image.shape == (3, 64, 64)
    assert isinstance(target["caption"], str)


def test_a_page_shows_pictures_with_their_texts(tmp_path: Path) -> None:
    write(tmp_path, [{"image": f"{n}.png", "caption": f"picture number {n} " * 5} for n in range(4)])
    report = check_dataset(tmp_path)
    assert not report.faults
    assert dict(report.contact_sheets())


def test_the_captions_of_the_world_and_special_tokens() -> None:
    world = World(count=3, size=(32, 32), targets=("caption",))
    assert [*captions_of(world, 2)] == [world[0][1]["caption"], world[1][1]["caption"]]
    assert spelt_token("a <|EndOfText|>") == "<|endoftext|>"
    assert spelt_token("a < end") is None
