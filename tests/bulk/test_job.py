"""Predicting on many pictures: every one once, whatever is broken, killed, added or shared out."""

import json
import math
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import torch

from tests.bulk.models import MeanColour, mean_colour
from tests.cli.tiny_sets import cut_in_half, write_picture
from vidi import files
from vidi.bulk import job
from vidi.bulk.forms import Save
from vidi.bulk.job import Asked, Outcome, predict_many
from vidi.bulk.reading import Blocks, Reader
from vidi.bulk.sources import listing_of
from vidi.catalog.listed import UsageError
from vidi.catalog.names import entry
from vidi.data.recognise import open_dataset
from vidi.weights.creation import create

OUT = Path("out")
COUNT = 30


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures of three sizes, in two folders."""
    monkeypatch.chdir(tmp_path)
    for row in range(COUNT):
        write_picture(Path(f"photos/{'ab'[row % 2]}/{row:02d}.png"), (12 + 4 * (row % 3), 16), row % 3, seed=row)
    return Path("photos")


def predict(
    model: MeanColour, *arguments: str, out: Path = OUT, process: int = 0, processes: int = 1, **how: Any
) -> Outcome:
    asked = Asked(**{"save": "jsonl", "batch_size": 4, "part": 8, **how})
    return predict_many(
        model, listing_of(arguments or ["photos"], out), out, asked, process=process, processes=processes
    )


def rows(out: Path = OUT) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "jsonl/predictions.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("side", "workers"), [(None, 0), (16, 2)])
def test_each_picture_has_the_result_that_predict_gives(photos: Path, side: int | None, workers: int) -> None:
    model = mean_colour(side=side)
    done = predict(model, workers=workers)
    assert done == Outcome(0, COUNT, 0, 0, [OUT / "jsonl/predictions.jsonl"])
    paths = sorted(map(str, photos.rglob("*.png")))
    assert [row.pop("source") for row in rows()] == paths
    for row, path in zip(rows(), paths, strict=True):
        (alone,) = model.predict(path)
        assert row == {"source": path, "size": list(files.image_size(path)), **alone.to_dict()}


def test_batches_are_full_and_of_one_canvas_and_hold_nothing_of_another_part() -> None:
    model = mean_colour(side=None)
    predict(model, batch_size=4, part=15)
    # of 15 pictures five have each size: a full batch and one that is left
    assert sorted(model.seen) == [1] * 6 + [4] * 6
    other = mean_colour()
    predict(other, out=Path("other"), batch_size=4, part=15)
    assert sorted(other.seen) == [3, 3] + [4] * 6


def test_no_more_pictures_wait_for_others_of_their_size_than_four_batches() -> None:
    for row in range(12):
        write_picture(Path(f"odd/{row:02d}.png"), (8 + row, 8))
    model = mean_colour(side=None)
    predict(model, "odd", batch_size=2, part=12)
    assert model.seen == [1] * 12
    listing = listing_of(["odd"], OUT)
    blocks = Blocks(listing, listing.share(0, 1), listing.keys[:0], Reader(model.preprocess, piece=12), 2)
    waited = [read.entries[0].name for read in blocks if read.batch is not None]
    assert waited[0] == "00"  # the first to leave, when eight wait
    assert len(waited) == 12


def test_what_cannot_be_read_or_seen_is_a_row_with_its_error() -> None:
    cut_in_half(Path("photos/a/04.png"))
    Path("photos/b/05.png").write_bytes(b"nothing")
    files.write_image("photos/black.png", torch.zeros(3, 12, 16, dtype=torch.uint8))
    Path("broken.tar").write_bytes(b"no archive" * 100)
    with tarfile.open("whole.tar", "w") as archive:
        archive.add("photos/a/00.png", "x/00.png")
        archive.add("photos/b/05.png", "x/05.png")
    Path("list.txt").write_text("gone.jpg\nphotos\nbroken.tar\nwhole.tar\n")
    done = predict(mean_colour(), "list.txt")
    found = {row["source"]: row for row in rows()}
    broken = {source: row["error"] for source, row in found.items() if "error" in row}
    assert (done.pictures, done.broken, done.left) == (COUNT + 5, 6, 0)
    assert len(found) == COUNT + 5
    assert set(broken) == {
        "photos/a/04.png",
        "photos/b/05.png",
        "photos/black.png",
        "gone.jpg",
        "broken.tar",
        "whole.tar/x/05.png",
    }
    assert all(source in error for source, error in broken.items())
    assert "not an image" in broken["whole.tar/x/05.png"]
    assert "a kernel that is larger" in broken["photos/black.png"]
    assert "not a tar archive" in broken["broken.tar"]
    assert found["whole.tar/x/00.png"]["score"] == found["photos/a/00.png"]["score"]
    again = mean_colour()
    assert predict(again, "list.txt") == Outcome(COUNT + 5, 0, 0, 0, done.saved)
    assert again.seen == []


def test_a_network_that_fails_on_all_pictures_is_no_fault_of_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no kernel image")

    model = mean_colour()
    monkeypatch.setattr(model, "predict_batch", fail)
    monkeypatch.setattr(job, "FAILURES", 10)
    with pytest.raises(RuntimeError, match="no kernel image"):
        predict(model)
    assert not list(OUT.rglob("*.jsonl"))


@pytest.mark.parametrize("at", [1, 3, 6])
def test_an_interrupt_loses_nothing_and_nothing_is_done_twice(at: int) -> None:
    heard = 0

    def interrupt(done: int, total: int, error: str | None = None, /) -> None:
        nonlocal heard
        assert total == COUNT
        heard += 1
        if heard == at:
            raise KeyboardInterrupt

    model = mean_colour()
    listing = listing_of(["photos"], OUT)
    with pytest.raises(KeyboardInterrupt):
        predict_many(model, listing, OUT, Asked("jsonl", batch_size=4, part=8), hears=interrupt)
    assert not (OUT / "jsonl/predictions.jsonl").exists()
    done = predict(model)
    assert done.before == sum(model.seen) - done.pictures > 0
    assert sum(model.seen) == COUNT == done.before + done.pictures
    assert Counter(row["source"] for row in rows()) == Counter(listing.sources[row] for row in range(COUNT))


def test_processes_share_the_work_and_the_last_one_writes_the_files() -> None:
    whole = predict(mean_colour(), out=Path("whole"))
    models = [mean_colour() for _ in range(3)]
    first, second, third = (predict(model, process=row, processes=3) for row, model in enumerate(models))
    assert [first.left, second.left, third.left] == [COUNT - first.pictures, third.pictures, 0]
    assert (first.saved, second.saved) == ([], [])
    assert third.saved == [OUT / "jsonl/predictions.jsonl"]
    assert sum(sum(model.seen) for model in models) == COUNT
    assert (OUT / "jsonl/predictions.jsonl").read_bytes() == whole.saved[0].read_bytes()
    assert predict(mean_colour(), process=0, processes=2).pictures == 0  # as many as there were before, or not


def test_what_was_added_is_done_and_the_rest_is_not() -> None:
    predict(mean_colour())
    write_picture(Path("photos/b/new.png"), (12, 16))
    Path("photos/a/00.png").unlink()
    model = mean_colour()
    done = predict(model)
    assert (done.before, done.pictures, sum(model.seen)) == (COUNT - 1, 1, 1)
    sources = [row["source"] for row in rows()]
    assert sources == sorted(sources)
    assert {"photos/b/new.png", "photos/a/00.png"} <= set(sources)
    assert len(sources) == COUNT + 1


def test_a_folder_holds_results_of_one_model_by_one_setting() -> None:
    predict(mean_colour())
    for model, how, told in (
        (mean_colour(side=8), {}, "model mean_colour"),
        (mean_colour(), {"every": 2}, "every 1, not 2"),
        (mean_colour(), {"reduced": True}, "reduced False, not True"),
    ):
        with pytest.raises(UsageError, match=f"other settings.*{told}"):
            predict(model, out=OUT, **how)
    assert predict(mean_colour(), batch_size=7, part=3, workers=1).pictures == 0  # how it is done is no setting


def test_pictures_are_drawn_where_they_are_asked_for() -> None:
    files.copy("photos/a/00.png", "photos/a/00.bmp")
    model = mean_colour(finds=True)
    model.shown_from = 0.3
    predict(model, draw=True)
    drawn = {path.relative_to(OUT).as_posix() for path in OUT.rglob("*") if path.suffix in (".png", ".bmp")}
    expected = {path.relative_to("photos").as_posix() for path in Path("photos").rglob("*.*")}
    assert drawn == expected
    (alone,) = model.predict("photos/a/02.png")
    pixels = torch.from_numpy(np.asarray(alone.drawn()).copy()).permute(2, 0, 1)
    assert torch.equal(files.read_image(OUT / "a/02.png"), pixels)
    assert files.image_size(OUT / "a/02.png") != files.image_size("photos/a/02.png")  # enlarged until text is legible


def test_pictures_are_cut_into_tiles() -> None:
    write_picture(Path("large/1.png"), (40, 70), 1)
    predict(mean_colour(finds=True, side=None), "large", tile=32, overlap=0.25)
    (row,) = rows()
    assert row["size"] == [40, 70]
    assert len(row["objects"]) > 1
    (alone,) = mean_colour(finds=True, side=None).predict("large/1.png", tile=32, overlap=0.25)
    model = mean_colour(finds=True, side=None)
    assert row["objects"] == alone.above(model.shown_from).to_dict()["objects"]


def test_large_jpegs_are_decoded_at_a_reduced_scale_in_the_pixels_of_the_whole() -> None:
    for size in ((64, 96), (32, 32), (33, 40), (131, 97)):
        ramp = torch.linspace(0, 120, size[0] * size[1]).reshape(1, *size).byte()
        files.write_image(f"large/{size[0]}.jpg", torch.cat((ramp, ramp // 2, 200 - ramp)))
    model = mean_colour(finds=True)
    model.shown_from = 0.0
    predict(model, "large", reduced=True)
    for row in rows():
        H, W = row["size"]
        assert files.image_size(row["source"]) == (H, W)
        (thing,) = row["objects"]
        assert thing["box"] == pytest.approx([W / 4, H / 4, W / 2, H / 2])
        (whole,) = model.predict(row["source"])
        assert thing["score"] == pytest.approx(float(whole.scores[0]), abs=0.01)


def test_a_reduced_scale_is_refused_where_it_has_no_sense() -> None:
    for how in ({"draw": True}, {"tile": 8}):
        with pytest.raises(UsageError, match="reduced scale"):
            predict(mean_colour(), out=OUT, reduced=True, **how)


# ----------------------------------------------------------------------------------------------------------------------
# What is written


def test_columns_hold_what_lines_hold() -> None:
    Path("photos/b/05.png").write_bytes(b"nothing")
    for save in ("jsonl", "parquet"):
        predict(mean_colour(finds=True), save=save)
    table = pyarrow.parquet.read_table(OUT / "parquet/predictions.parquet").to_pylist()
    assert len(table) == COUNT
    for columns, row in zip(table, rows(), strict=True):
        assert {key: value for key, value in columns.items() if value is not None} == row


def test_coco_has_ids_in_order_and_files_of_pictures_alone() -> None:
    with tarfile.open("photos/shard.tar", "w") as archive:
        archive.add("photos/a/00.png", "00.png")
    Path("photos/b/05.png").write_bytes(b"nothing")
    model = mean_colour(finds=True)
    model.shown_from = 0.0
    done = predict(model, save="coco")
    assert done.saved == [OUT / "coco/predictions.json"]
    written = json.loads(done.saved[0].read_text())
    names = [image["file_name"] for image in written["images"]]
    expected = [str(path) for path in sorted(Path("photos").rglob("*.png")) if path.name != "05.png"]
    assert names == [*(name.removeprefix("photos/") for name in expected), "photos/shard.tar/00.png"]
    assert [image["id"] for image in written["images"]] == list(range(1, COUNT + 1))
    assert [row["image_id"] for row in written["annotations"]] == list(range(1, COUNT + 1))
    assert [row["id"] for row in written["annotations"]] == list(range(1, COUNT + 1))
    assert [category["name"] for category in written["categories"]] == ["red", "green", "blue"]
    (alone,) = model.predict("photos/a/00.png")
    x0, y0, x1, y1 = alone.boxes[0].tolist()
    assert written["annotations"][0]["bbox"] == pytest.approx([x0, y0, x1 - x0, y1 - y0])
    for name in names[:-1]:
        assert (OUT / "coco/images" / name).read_bytes() == Path("photos", name).read_bytes()


def test_labels_are_shares_of_the_picture() -> None:
    model = mean_colour(finds=True)
    model.shown_from = 0.0
    done = predict(model, save="labels")
    assert done.saved == [OUT / "labels/labels", OUT / "labels/classes.txt"]
    assert (OUT / "labels/classes.txt").read_text() == "red\ngreen\nblue\n"
    texts = sorted(
        path.relative_to(OUT / "labels/labels").as_posix() for path in (OUT / "labels/labels").rglob("*.txt")
    )
    assert texts == sorted(f"{'ab'[row % 2]}/{row:02d}.txt" for row in range(COUNT))
    label, *box, score = (OUT / "labels/labels/a/04.txt").read_text().split()
    (alone,) = model.predict("photos/a/04.png")
    assert label == "1"
    assert [float(value) for value in box] == [0.375, 0.375, 0.25, 0.25]
    assert math.isclose(float(score), float(alone.scores[0]), abs_tol=5e-7)


def test_half_of_the_cores_read_and_processes_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, processes, expected in ((16, 1, 8), (64, 1, 8), (16, 4, 2), (2, 1, 1), (1, 1, 1), (4, 8, 1)):
        monkeypatch.setattr("os.sched_getaffinity", lambda process, cores=cores: set(range(cores)))
        assert job.usual_workers(processes) == expected


def test_results_without_a_form_stop_at_once() -> None:
    for save, told in (("coco", "has no form in COCO"), ("labels", "has no form in YOLO")):
        with pytest.raises(ValueError, match=told):
            predict(mean_colour(), save=save)


def test_without_pyarrow_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r"pip install 'vidi\[scale\]'"):
        predict(mean_colour(), save="parquet")


# ----------------------------------------------------------------------------------------------------------------------
# Models of the catalogue


@pytest.mark.parametrize(
    ("name", "arguments", "save"),
    [
        ("monodepth_tiny", {"size": (64, 64)}, "jsonl"),
        ("embedder_tiny", {"size": (32, 32), "width": 16}, "parquet"),
        ("unet_tiny", {"size": (32, 32), "categories": ("road", "sky")}, "coco"),
        ("mask2former_tiny", entry("mask2former_tiny").tiny, "coco"),
    ],
)
def test_models_of_any_task_are_saved(name: str, arguments: dict[str, Any], save: Save) -> None:
    model = create(name, **arguments)
    known = {"fov": 60.0} if name == "monodepth_tiny" else {}
    for row in range(3):
        write_picture(Path(f"few/{row}.png"), (32 + 8 * row, 40), row, seed=row)
    done = predict_many(model, listing_of(["few"], OUT), OUT, Asked(save, batch_size=2, known=known))
    assert (done.pictures, done.broken) == (3, 0)
    alone = [result.above() if hasattr(result, "above") else result for result in model.predict("few", **known)]
    if save == "coco":
        target = open_dataset(OUT / "coco", "all")[2][1]
        expected = alone[2].classes if name == "unet_tiny" else None
        assert expected is None or torch.equal(target["semantic"].as_subclass(torch.Tensor), expected)
        assert len(list((OUT / "coco/images").iterdir())) == 3
        assert len(list((OUT / "coco" / ("labels" if name == "unet_tiny" else "panoptic")).glob("*.png"))) == 3
        return
    told = rows() if save == "jsonl" else pyarrow.parquet.read_table(done.saved[0]).to_pylist()
    for row, result in zip(told, alone, strict=True):
        expected = result.to_dict()
        assert row.keys() == {"source", "size", *expected}
        for key, value in expected.items():
            assert row[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-4, abs=1e-6)), key
