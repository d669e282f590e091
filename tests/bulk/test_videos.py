"""Videos and cameras: frames with their times, gone on with after an interrupt, drawn back into a video."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from tests.bulk.models import mean_colour
from vidi.bulk import videos
from vidi.bulk.job import Asked, Outcome, predict_many
from vidi.bulk.sources import listing_of
from vidi.bulk.videos import Frame, frames_of

OUT = Path("out")
RED, FRAMES, RATE = 6, 41, 10  # how much redder each frame is


@pytest.fixture(autouse=True)
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A video in a folder."""
    monkeypatch.chdir(tmp_path)
    path = Path("clips/a/clip.mp4")
    videos.write_piece(Path("piece.mkv"), ((row / RATE, still(row)) for row in range(FRAMES)), (32, 48))
    path.parent.mkdir(parents=True)
    videos.join_pieces([Path("piece.mkv")], path)
    return path


def still(row: int) -> PIL.Image.Image:
    pixels = np.full((32, 48, 3), 10, dtype=np.uint8)
    pixels[..., 0] = RED * row
    return PIL.Image.fromarray(pixels)


def predict(*, interrupted: int | None = None, out: Path = OUT, **how: Any) -> Outcome:
    heard = 0

    def hears(done: int, total: int, error: str | None = None, /) -> None:
        nonlocal heard
        heard += 1
        if heard == interrupted:
            raise KeyboardInterrupt

    asked = Asked(**{"save": "jsonl", "batch_size": 4, "part": 8, **how})
    return predict_many(mean_colour(finds=True), listing_of(["clips"], out), out, asked, hears=hears)


def rows(out: Path = OUT) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "jsonl/predictions.jsonl").read_text().splitlines()]


def test_frames_have_numbers_times_and_colours(clip: Path) -> None:
    frames = list(frames_of(str(clip)))
    assert [frame.number for frame in frames] == list(range(FRAMES))
    assert [frame.seconds for frame in frames] == pytest.approx([row / RATE for row in range(FRAMES)], abs=2e-3)
    assert all(tuple(frame.pixels.shape) == (3, 32, 48) for frame in frames)
    reds = [float(frame.pixels[0].float().mean()) for frame in frames]
    assert reds == pytest.approx([RED * row for row in range(FRAMES)], abs=6)  # coded with a loss
    assert [frame.number for frame in frames_of(str(clip), every=7)] == list(range(0, FRAMES, 7))


@pytest.mark.parametrize(("rotation", "corner"), [(0, (0, 0)), (90, (2, 0)), (-90, (0, 1)), (180, (2, 1))])
def test_frames_are_turned_as_players_turn_them(rotation: int, corner: tuple[int, int]) -> None:
    pixels = np.zeros((2, 3, 3), dtype=np.uint8)
    pixels[0, 0] = 255  # counter-clockwise by 90 degrees the first corner of three columns becomes the lowest of them
    size = {0: (2, 3), 180: (2, 3)}.get(rotation, (3, 2))
    corner = {180: (1, 2)}.get(rotation, corner)
    frame = SimpleNamespace(rotation=rotation, to_ndarray=lambda format: pixels)
    turned = videos._upright(frame)
    assert tuple(turned.shape[1:]) == size
    assert turned[0].nonzero().tolist() == [list(corner)]


def test_each_frame_is_a_row_and_a_kill_repeats_none() -> None:
    with pytest.raises(KeyboardInterrupt):
        predict(interrupted=4)
    done = predict()
    assert (done.before, done.left) == (0, 0)
    assert 0 < done.pictures < FRAMES
    found = rows()
    assert [row["frame"] for row in found] == list(range(FRAMES))
    assert {row["source"] for row in found} == {"clips/a/clip.mp4"}
    assert [row["seconds"] for row in found] == pytest.approx([row / RATE for row in range(FRAMES)], abs=2e-3)
    assert [row["size"] for row in found] == [[32, 48]] * FRAMES
    assert predict() == Outcome(1, 0, 0, 0, done.saved)
    assert predict(out=Path("some"), every=5).pictures == 9


def test_what_is_drawn_of_a_video_is_a_video(clip: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        predict(interrupted=5, draw=True)
    done = predict(draw=True)
    assert done.saved == [OUT / "jsonl/predictions.jsonl", OUT / "a/clip.mp4"]
    drawn = list(frames_of(str(done.saved[1])))
    assert [frame.seconds for frame in drawn] == pytest.approx([row / RATE for row in range(FRAMES)], abs=2e-3)
    assert len({tuple(frame.pixels.shape) for frame in drawn}) == 1
    reds = [float(frame.pixels[0].float().median()) for frame in drawn]
    assert reds == sorted(reds)
    assert reds[-1] > reds[0] + 0.8 * RED * FRAMES


def test_a_video_that_breaks_off_ends_with_an_error(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("clips/none.mp4").write_bytes(clip.read_bytes()[:500])

    def breaks(path: str, **how: Any) -> Any:
        for frame in frames_of(path, **how):
            if frame.number == 10:
                raise ValueError(f"{path}: a damaged video: Invalid data")
            yield frame

    monkeypatch.setattr("vidi.bulk.reading.frames_of", breaks)
    done = predict()
    assert (done.pictures, done.broken, done.left) == (12, 2, 0)
    found = rows()
    assert [row["frame"] for row in found] == [*range(11), 0]
    assert found[10]["error"] == "clips/a/clip.mp4: a damaged video: Invalid data"
    assert found[11]["error"].startswith("clips/none.mp4: a damaged video")
    assert predict().pictures == 0


def test_a_camera_is_done_when_it_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def shows(path: str, *, camera: bool, every: int) -> Any:
        assert (path, camera, every) == ("/dev/video0", True, 1)
        for number in range(11):
            yield Frame(number, number / 5, torch.full((3, 8, 8), 9, dtype=torch.uint8))
        raise KeyboardInterrupt

    monkeypatch.setattr("vidi.bulk.reading.frames_of", shows)
    for times in (1, 2):
        listing = listing_of(["0"], OUT)
        moment = f"2030-01-0{times}T00:00:00"
        monkeypatch.setattr("vidi.bulk.reading.time.strftime", lambda form, moment=moment: moment)
        done = predict_many(mean_colour(), listing, OUT, Asked("jsonl", batch_size=4, part=8))
        assert done.pictures == 8
        assert done.saved
        assert len(rows()) == 8 * times
    assert {row["source"] for row in rows()} == {f"/dev/video0 2030-01-0{times}T00:00:00" for times in (1, 2)}


def test_what_is_no_video_is_told(tmp_path: Path) -> None:
    Path("text.mp4").write_text("no video")
    with pytest.raises(ValueError, match=r"text\.mp4: a damaged video: Invalid data"):
        list(frames_of("text.mp4"))
    with pytest.raises(ValueError, match="/dev/video77: cannot be opened: No such file"):
        list(frames_of("/dev/video77", camera=True))


def test_a_canvas_has_even_sides_and_room_for_a_legend_that_grows() -> None:
    assert videos.canvas_for(PIL.Image.new("RGB", (47, 31)), (31, 47)) == (32, 48)
    assert videos.canvas_for(PIL.Image.new("RGB", (48, 40)), (32, 48)) == (48, 48)
    assert videos.canvas_for(PIL.Image.new("RGB", (48, 70)), (32, 48)) == (70, 48)
