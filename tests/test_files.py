"""files.py: images bounded and upright, writes all or nothing, strict JSON, no pickles."""

import errno
import io
import json
import multiprocessing
import os
import pickle
import struct
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import torch

from vidi import files, formats

pytestmark = [
    pytest.mark.filterwarnings("ignore:Corrupt EXIF data"),
    pytest.mark.filterwarnings("ignore:Detected pickle protocol"),
]

RAMP = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14  # H W 3


def save(path, array, **options):
    PIL.Image.fromarray(array).save(path, **options)
    return path


def exif(orientation):
    tags = PIL.Image.Exif()
    tags[274] = orientation
    return tags


# ---------------------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm"])
def test_lossless_formats_are_read_exactly(tmp_path, suffix):
    image = files.read_image(save(tmp_path / f"a{suffix}", RAMP))
    assert image.dtype == torch.uint8
    assert torch.equal(image, torch.from_numpy(RAMP).permute(2, 0, 1))


def test_jpeg_equals_pillow(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    for array in (noise, noise[..., 0]):
        path = save(tmp_path / "a.jpg", array, quality=80)
        expected = np.array(PIL.Image.open(path).convert("RGB"))
        assert torch.equal(files.read_image(path), torch.from_numpy(expected).permute(2, 0, 1))


def test_grey_palette_alpha_16_bit_and_cmyk(tmp_path):
    grey = save(tmp_path / "grey.png", RAMP[..., 0])
    assert torch.equal(files.read_image(grey), torch.from_numpy(RAMP[..., 0]).expand(3, 2, 3))
    high = save(tmp_path / "high.png", np.array([[0, 256, 65535]], dtype=np.uint16))
    assert files.read_image(high)[0].tolist() == [[0, 1, 255]]
    palette = PIL.Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "palette.png")
    assert files.read_image(tmp_path / "palette.png")[:, 0].T.tolist() == [[10, 20, 30], [40, 50, 60]]
    clear = np.array([[[9, 9, 9, 0], [9, 9, 9, 255], [0, 0, 0, 51]]], dtype=np.uint8)
    path = save(tmp_path / "clear.png", clear)
    assert files.read_image(path)[0].tolist() == [[255, 9, 204]]  # 0.2 * 0 + 0.8 * 255
    PIL.Image.fromarray(RAMP).convert("CMYK").save(tmp_path / "cmyk.jpg")
    assert files.read_image(tmp_path / "cmyk.jpg").shape == (3, 2, 3)
    floats = save(tmp_path / "float.tif", np.ones((2, 2), dtype=np.float32))
    with pytest.raises(ValueError, match=r"float\.tif.*no known range"):
        files.read_image(floats)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_pillow_does(tmp_path, suffix, orientation):
    array = np.kron(RAMP, np.ones((8, 8, 1), dtype=np.uint8))  # 16 x 24
    path = save(tmp_path / f"a{suffix}", array, exif=exif(orientation), **({"lossless": True} if "w" in suffix else {}))
    upright = PIL.Image.open(path)
    upright = PIL.ImageOps.exif_transpose(upright).convert("RGB")
    image = files.read_image(path)
    assert torch.equal(image, torch.from_numpy(np.array(upright)).permute(2, 0, 1))
    assert files.image_size(path) == tuple(image.shape[1:]) == ((24, 16) if orientation >= 5 else (16, 24))


@pytest.mark.parametrize("late", [False, True], ids=["before the pixels", "behind them"])
def test_sizes_and_pixels_follow_a_png_s_orientation_wherever_it_stands(tmp_path, late):
    path = save(tmp_path / "a.png", RAMP, exif=exif(6))
    if late:
        data = path.read_bytes()
        start = data.index(b"eXIf") - 4
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        moved = data[:start] + data[end:]
        path.write_bytes(moved[:-12] + data[start:end] + moved[-12:])  # IEND has 12 bytes
    expected = torch.from_numpy(RAMP).permute(2, 1, 0).flip(-1)
    assert torch.equal(files.read_image(path), expected)
    assert files.image_size(path) == (3, 2)
    assert torch.equal(files.image_pixels(PIL.Image.open(path)), expected)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_torchcodec_gives_pillow_s_pixels(tmp_path, monkeypatch, mode, progressive, subsampling):
    pytest.importorskip("torchcodec", minversion="0.16")
    noise = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    picture = PIL.Image.fromarray(noise).convert(mode)
    picture.save(tmp_path / "a.jpg", quality=80, progressive=progressive, subsampling=subsampling)
    with PIL.Image.open(tmp_path / "a.jpg") as image:
        assert formats.decode_jpeg(image, (tmp_path / "a.jpg").read_bytes()) is not None
    found = files.read_image(tmp_path / "a.jpg")
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)  # as if it were not installed
    assert torch.equal(files.read_image(tmp_path / "a.jpg"), found)


def test_pictures_are_read_without_torchvision_s_decoders(tmp_path, run_python):
    save(tmp_path / "a.jpg", RAMP)
    code = (
        "import sys, warnings; warnings.simplefilter('error'); sys.modules['torchvision.io'] = None\n"
        "from vidi import files; print(tuple(files.read_image(sys.argv[1]).shape))"
    )
    done = run_python("-c", code, tmp_path / "a.jpg")
    assert done.stdout == "(3, 2, 3)\n", done.stderr


def test_broken_exif_leaves_the_image_upright(tmp_path):
    path = save(tmp_path / "a.jpg", np.zeros((8, 16, 3), dtype=np.uint8), exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert files.read_image(path).shape == (3, 8, 16)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.97])
def test_truncated_files_are_errors_that_name_them(tmp_path, suffix, kept):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f"cut{suffix}", noise)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ValueError, match="cut"):
        files.read_image(path)


def test_images_beyond_the_limit_and_other_formats_are_errors(tmp_path):
    path = save(tmp_path / "a.png", RAMP)
    assert files.read_image(path, max_pixels=6).shape == (3, 2, 3)
    for read in (files.read_image, files.read_label_map, files.image_size):
        with pytest.raises(ValueError, match=r"a\.png.*3 x 2 pixels.*limit of 5"):
            read(path, max_pixels=5)
        with pytest.raises(FileNotFoundError, match="none"):
            read(tmp_path / "none.png")
    PIL.Image.fromarray(RAMP).save(tmp_path / "b.pcx")
    with pytest.raises(ValueError, match=r"b\.pcx.*not an image of a known format.*JPEG"):
        files.read_image(tmp_path / "b.pcx")
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 10_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + path.read_bytes()[33:])
    with pytest.raises(ValueError, match=r"bomb\.png"):
        files.read_image(tmp_path / "bomb.png")


def test_label_maps_keep_palette_indices(tmp_path):
    labels = np.array([[0, 1, 255]], dtype=np.uint8)
    palette = PIL.Image.fromarray(labels, mode="P")
    palette.putpalette(list(range(255, -1, -1)) * 3)
    palette.save(tmp_path / "p.png")
    assert files.read_label_map(tmp_path / "p.png").tolist() == [[0, 1, 255]]
    assert files.read_label_map(save(tmp_path / "g.png", labels)).tolist() == [[0, 1, 255]]
    with pytest.raises(ValueError, match=r"rgb\.png.*mode RGB"):
        files.read_label_map(save(tmp_path / "rgb.png", RAMP))
    with pytest.raises(ValueError, match=r"big\.png.*up to 300"):
        files.read_label_map(save(tmp_path / "big.png", np.array([[300]], dtype=np.uint16)))


def test_written_images_are_read_back(tmp_path):
    image = torch.from_numpy(RAMP).permute(2, 0, 1)
    files.write_image(tmp_path / "new" / "a.png", image)
    assert torch.equal(files.read_image(tmp_path / "new" / "a.png"), image)
    files.write_image(tmp_path / "b.png", image[:1])
    assert files.read_label_map(tmp_path / "b.png").tolist() == image[0].tolist()
    files.write_image(tmp_path / "c.jpg", PIL.Image.fromarray(RAMP))
    assert files.image_size(tmp_path / "c.jpg") == (2, 3)
    with pytest.raises(ValueError, match="uint8"):
        files.write_image(tmp_path / "d.png", image.float())
    with pytest.raises(ValueError, match=r"d\.xyz.*\.png"):
        files.write_image(tmp_path / "d.xyz", image)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.png", "c.jpg", "new"]


# ---------------------------------------------------------------------------------------------------------- writing


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write_old_and_new(path):
    """Each kind of write, onto a file that holds `old`."""
    return {
        "text": lambda: files.write_text(path, "new"),
        "json": lambda: files.write_json(path, {"new": 1}),
        "csv": lambda: files.write_csv(path, [{"new": 1}]),
        "state": lambda: files.write_state(path, {"new": torch.zeros(100_000)}),
        "tensors": lambda: files.write_tensors(path, {"new": torch.zeros(100_000)}),
    }


@pytest.mark.parametrize("kind", ["text", "json", "csv", "state", "tensors"])
@pytest.mark.parametrize("at", ["fsync", "write"])
def test_full_disk_is_one_clear_error_and_keeps_the_old_file(tmp_path, monkeypatch, kind, at):
    path = tmp_path / "run.bin"
    path.write_text("old")
    if at == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr("builtins.open", lambda file, mode="r", *a: open_full(file, mode, *a))
    with pytest.raises(OSError, match=r"no space left.*run\.bin") as caught:
        write_old_and_new(path)[kind]()
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


class FullDisk(io.FileIO):
    write = full


def open_full(file, mode="r", *options):
    if "x" not in mode:
        return io.open(file, mode, *options)  # noqa: UP020
    return io.BufferedWriter(FullDisk(file, mode))


@pytest.mark.parametrize(
    "message",
    ["basic_ios::clear: iostream error", "[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"],
)
def test_torch_runtime_error_of_a_full_disk_is_translated(tmp_path, monkeypatch, message):
    def save_on_full_disk(state, handle):
        handle.write(b"half")
        raise RuntimeError(message)

    files.write_state(tmp_path / "state.pt", {"step": 1})
    monkeypatch.setattr(torch, "save", save_on_full_disk)
    with pytest.raises(OSError, match=r"disk is probably full.*state\.pt"):
        files.write_state(tmp_path / "state.pt", {"step": 2})
    assert files.read_state(tmp_path / "state.pt") == {"step": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_other_failures_pass_through_and_leave_nothing(tmp_path):
    def wrong(handle):
        handle.write(b"half")
        raise RuntimeError("shapes differ")

    for error, write in ((RuntimeError, wrong), (KeyboardInterrupt, lambda handle: interrupt())):
        with pytest.raises(error):
            files.write_atomic(tmp_path / "a", write)
    assert list(tmp_path.iterdir()) == []


def interrupt():
    raise KeyboardInterrupt


def write_for_ever(path):
    torch.set_num_threads(1)
    step = 0
    while True:
        step += 1
        files.write_state(path, {"step": step, "values": torch.full((20_000,), float(step))})


def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    path = tmp_path / "state.pt"
    rng = np.random.default_rng(0)
    for _ in range(6):
        writer = multiprocessing.get_context("fork").Process(target=write_for_ever, args=(path,))
        writer.start()
        patience = time.monotonic() + 30  # a busy machine may take long to begin
        while not any(tmp_path.iterdir()) and time.monotonic() < patience:
            time.sleep(0.01)
        time.sleep(0.03 + 0.05 * rng.random())
        writer.kill()
        writer.join()
        if path.exists():
            state = files.read_state(path)
            assert torch.equal(state["values"], torch.full((20_000,), float(state["step"])))
    assert path.exists()
    left = len(list(tmp_path.iterdir())) - 1
    assert files.remove_temporaries(tmp_path) == left
    assert list(tmp_path.iterdir()) == [path]


def test_new_files_have_the_usual_permissions(tmp_path):
    files.write_text(tmp_path / "ours", "x")
    (tmp_path / "theirs").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


# ------------------------------------------------------------------------------------------------- text and numbers


def test_json_round_trip_and_no_nan_out(tmp_path):
    value = {"a": [1, 2.5, None, True], "ü": "x"}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == value
    with pytest.raises(ValueError, match=r"b\.json.*JSON"):
        files.write_json(tmp_path / "b.json", {"a": float("nan")})
    with pytest.raises(TypeError, match=r"b\.json"):
        files.write_json(tmp_path / "b.json", {"a": torch.zeros(1)})
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": "NaN",\n "b": [1,\n NaN]}', "line 3, column 2: NaN"),
        ('{"Infinity\\"": 1,\n "b": -Infinity}', "line 2, column 7: -Infinity"),
        ('{"a": 1,\n "b" 2}', "line 2"),
        ("", "line 1"),
        ("[" * 100_000, "nested too deeply"),
        ("[" + "9" * 5000 + "]", "4300 digits"),
    ],
)
def test_bad_json_names_file_and_line(tmp_path, text, message):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ValueError, match=rf"bad\.json.*{message}"):
        files.read_json(tmp_path / "bad.json")


def test_json_that_is_not_text(tmp_path):
    (tmp_path / "bad.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ValueError, match=r"bad\.json: not UTF-8"):
        files.read_json(tmp_path / "bad.json")
    (tmp_path / "bom.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert files.read_json(tmp_path / "bom.json") == [1]
    with pytest.raises(FileNotFoundError, match="none"):
        files.read_json(tmp_path / "none.json")


def test_csv_columns_grow(tmp_path):
    files.write_csv(tmp_path / "m.csv", [{"step": 1, "loss": 0.5}, {"step": 2, "ap": "a,b"}])
    assert (tmp_path / "m.csv").read_text() == 'step,loss,ap\n1,0.5,\n2,,"a,b"\n'
    assert files.read_csv(tmp_path / "m.csv")[1] == {"step": "2", "loss": "", "ap": "a,b"}


def test_npz_refuses_objects_and_damage(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    assert files.read_npz(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2]
    np.savez(tmp_path / "o.npz", x=np.array([{}], dtype=object))
    (tmp_path / "t.npz").write_text("no")
    for name in ("o", "t"):
        with pytest.raises(ValueError, match=rf"{name}\.npz"):
            files.read_npz(tmp_path / f"{name}.npz")


# ---------------------------------------------------------------------------------------------------------- tensors


def test_tensors_round_trip(tmp_path):
    tensors = {"w": torch.arange(6.0).reshape(2, 3).T, "n": torch.tensor(3)}
    files.write_tensors(tmp_path / "w.safetensors", tensors, {"name": "x"})
    back = files.read_tensors(tmp_path / "w.safetensors")
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    assert files.read_metadata(tmp_path / "w.safetensors") == {"name": "x"}
    shared = torch.zeros(3)
    with pytest.raises(ValueError, match=r"s\.safetensors.*share memory"):
        files.write_tensors(tmp_path / "s.safetensors", {"a": shared, "b": shared})


class Harmful:
    def __reduce__(self):
        return (os.mkdir, ("/nonexistent/harm",))


def test_tensors_whose_header_has_a_length_like_the_start_of_a_pickle_are_read(tmp_path):
    path = tmp_path / "w.safetensors"
    for length in range(1, 257):
        files.write_tensors(path, {"n" * length: torch.tensor([1.0])})
        if path.read_bytes()[:1] == b"\x80":
            break
    else:
        pytest.fail("no name gave a header of such a length")
    assert files.read_tensors(path)["n" * length].tolist() == [1.0]


@pytest.mark.parametrize("protocol", [2, 5, "torch"])
def test_a_pickle_renamed_safetensors_is_refused(tmp_path, protocol):
    path = tmp_path / "w.safetensors"
    if protocol == "torch":
        torch.save({"a": torch.zeros(2)}, path)
    else:
        path.write_bytes(pickle.dumps({"a": Harmful()}, protocol=protocol))
    for read in (files.read_tensors, files.read_metadata):
        with pytest.raises(ValueError, match=r"w\.safetensors: a pickle.*refused"):
            read(path)


def test_damaged_safetensors_are_refused(tmp_path):
    files.write_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(100)})
    data = (tmp_path / "a.safetensors").read_bytes()
    for damaged in (b"", data[:5], data[:40], data[:-7], b"\xff" * 8 + data[8:], b"hello, world"):
        (tmp_path / "bad.safetensors").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"bad\.safetensors"):
            files.read_tensors(tmp_path / "bad.safetensors")
    with pytest.raises(FileNotFoundError, match="none"):
        files.read_tensors(tmp_path / "none.safetensors")


def test_state_holds_tensors_and_plain_values_only(tmp_path):
    state = {"weights": {"a": torch.ones(2)}, "step": 3, "rate": 0.1, "names": ["x", None, (1, 2)]}
    files.write_state(tmp_path / "state.pt", state)
    back = files.read_state(tmp_path / "state.pt")
    assert torch.equal(back["weights"].pop("a"), state["weights"].pop("a"))
    assert back == state
    (tmp_path / "harm.pt").write_bytes(pickle.dumps(Harmful()))
    torch.save(Harmful(), tmp_path / "harm2.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "state.pt").read_bytes()[:-200])
    for name in ("harm", "harm2", "cut"):
        with pytest.raises(ValueError, match=rf"{name}\.pt: damaged"):
            files.read_state(tmp_path / f"{name}.pt")
    with pytest.raises(FileNotFoundError, match="none"):
        files.read_state(tmp_path / "none.pt")


def test_files_needs_no_torch(run_python):
    code = "import sys, vidi.files; sys.exit('torch' in sys.modules or 'torchvision' in sys.modules)"
    assert run_python("-c", code).returncode == 0


def test_json_written_is_what_the_standard_module_reads(tmp_path):
    files.write_json(tmp_path / "a.json", {"b": [1.5]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1.5]}


# ----------------------------------------------------------------------------------------------------------------------
# Many files


def smooth(height: int, width: int) -> torch.Tensor:
    rows, columns = torch.linspace(0, 120, height)[:, None], torch.linspace(0, 120, width)
    return torch.stack(((rows + columns), (rows + 0 * columns), (0 * rows + columns))).byte()


@pytest.mark.parametrize(("orientation", "size"), [(1, (160, 240)), (6, (240, 160)), (8, (240, 160))])
def test_large_jpegs_are_decoded_small_and_upright(tmp_path: Path, orientation: int, size: tuple[int, int]) -> None:
    exif = PIL.Image.Exif()
    exif[274] = orientation
    PIL.Image.fromarray(smooth(160, 240).permute(1, 2, 0).numpy()).save(tmp_path / "a.jpg", quality=95, exif=exif)
    data = (tmp_path / "a.jpg").read_bytes()
    asked = []

    def enough(whole: tuple[int, int]) -> tuple[int, int]:
        asked.append(whole)
        return whole[0] // 5, whole[1] // 5

    small, whole = files.decode_reduced("a.jpg", data, enough)
    assert asked == [whole] == [size]
    assert tuple(small.shape[1:]) == (size[0] // 4, size[1] // 4)  # the smallest scale that is enough
    full = files.read_image(tmp_path / "a.jpg").float()
    near = torch.nn.functional.interpolate(full[None], small.shape[1:], mode="area")[0]
    assert float((small.float() - near).abs().max()) < 8
    for share in (1, 2):  # not more than twice as large
        same, _ = files.decode_reduced("a.jpg", data, lambda whole, share=share: (whole[0] // share, whole[1] // share))
        assert torch.equal(same, full.byte())


def test_other_pictures_are_decoded_as_they_are(tmp_path: Path) -> None:
    files.write_image(tmp_path / "a.png", smooth(64, 96))
    pixels, whole = files.decode_reduced("a.png", (tmp_path / "a.png").read_bytes(), lambda whole: (4, 4))
    assert torch.equal(pixels, smooth(64, 96))
    assert whole == (64, 96)
    with pytest.raises(ValueError, match=r"b\.jpg: not an image"):
        files.decode_reduced("b.jpg", b"nothing", lambda whole: (4, 4))


def test_a_second_name_is_the_same_file_or_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"picture")
    files.link(tmp_path / "a.jpg", tmp_path / "x/a.jpg")
    assert (tmp_path / "x/a.jpg").samefile(tmp_path / "a.jpg")
    files.link(tmp_path / "a.jpg", tmp_path / "x/a.jpg")  # there already

    def refuse(*paths: object) -> None:
        raise OSError("no such links here")

    monkeypatch.setattr("os.link", refuse)
    files.link(tmp_path / "a.jpg", tmp_path / "y/a.jpg")
    assert (tmp_path / "y/a.jpg").read_bytes() == b"picture"
    assert not (tmp_path / "y/a.jpg").samefile(tmp_path / "a.jpg")


def test_lines_are_read_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("ü\n\nlast\rline".encode())
    assert list(files.read_lines(tmp_path / "a.txt")) == ["ü", "", "last\rline"]
    with pytest.raises(FileNotFoundError, match=r"gone\.txt: no such file"):
        next(files.read_lines(tmp_path / "gone.txt"))


def test_a_file_is_forced_to_the_disk_but_where_it_need_not_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[int] = []
    monkeypatch.setattr("os.fsync", forced.append)
    files.write_text(tmp_path / "a.txt", "a", sync=False)
    assert (forced, (tmp_path / "a.txt").read_text()) == ([], "a")
    files.write_text(tmp_path / "a.txt", "b")
    assert len(forced) == 2  # the file and its folder


def test_a_file_is_held_by_one_and_where_there_are_no_locks_by_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with files.locked(tmp_path / "x/a.lock"):
        with pytest.raises(BlockingIOError), files.locked(tmp_path / "x/a.lock"):
            pass
        with files.locked(tmp_path / "x/b.lock"):
            pass

        def refuse(*arguments: object) -> None:
            raise OSError(errno.ENOLCK, "no locks available")

        monkeypatch.setattr("fcntl.flock", refuse)
        with files.locked(tmp_path / "x/a.lock"):
            pass
