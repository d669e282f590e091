"""Files of `vidi export`: they have the results of their model, say what they are, and read nothing from elsewhere."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import torch.nn.functional as F
from starlette.testclient import TestClient
from torch import Tensor, nn

import vidi
from tests.cli.command import vidi as command
from tests.cli.tiny_sets import cut_in_half, write_classes, write_picture
from tests.closeness import FLOAT32, assert_close
from tests.conftest import ROOT
from tests.contracts.models import FIRST
from vidi.backbones.classifier import Logits
from vidi.catalog.listed import verdicts
from vidi.catalog.table import CATALOG
from vidi.cli import serving
from vidi.embedding.fingerprint import fingerprint
from vidi.engine.runs import Run
from vidi.exported.network import KEY, NoRuntimeError, said_by
from vidi.exported.writing import DiffersError, NoExportError, export_model
from vidi.serve.app import make_app
from vidi.serve.served import Served


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of a classifier on class folders, its export, and a folder of photos in two sizes."""
    folder = tmp_path_factory.mktemp("exported")
    write_classes(folder / "leaves")
    out, small = folder / "run", {"size": (32, 32), "width": 16, "stem": "small", "epochs": 1, "batch_size": 8}
    vidi.train("resnet18", data=folder / "leaves", out=out, quiet=True, **small)
    for row, size in enumerate(((48, 64), (96, 80))):
        write_picture(folder / "photos" / f"{row}.png", size, colour=row, seed=9 + row)
    made = vidi.export(out, folder / "leaves.onnx")
    assert (made.path, made.verdict) == (folder / "leaves.onnx", "verified")
    return folder


@pytest.fixture
def own(place: Path, tmp_path: Path) -> Path:
    """A copy of the exported file, to be spoilt."""
    return Path(shutil.copy(place / "leaves.onnx", tmp_path))


def test_an_exported_file_has_the_results_of_its_run(place: Path) -> None:
    photos = sorted((place / "photos").iterdir())
    expected = vidi.load(place / "run").predict(photos)
    exported = vidi.load(place / "leaves.onnx")
    for found, result in zip(exported.predict(photos), expected, strict=True):
        assert found.categories == result.categories == ("green", "red")
        assert_close(found.probabilities, result.probabilities, FLOAT32)
    images = torch.rand(3, 3, 40, 56)  # no batch and no size that the file was traced on
    assert fingerprint(exported) == fingerprint(vidi.load(place / "leaves.onnx"))
    with pytest.raises(ValueError, match="copy the file that it was loaded from"):
        exported.save(place / "copy")
    assert not (place / "copy").exists()
    outputs = exported(images)
    assert outputs._fields == ("logits",)
    assert_close(outputs.logits, vidi.load(place / "run")(images).logits, FLOAT32)


def test_commands_take_an_exported_file_as_they_take_a_run(place: Path, tmp_path: Path) -> None:
    words = "predict", place / "photos", "--out", tmp_path / "drawn", "--json"
    one, other = (command(words[0], name, *words[1:]).json() for name in (place / "run", place / "leaves.onnx"))
    assert [row["name"] for row in one] == [row["name"] for row in other]
    assert (tmp_path / "drawn" / "0.png").is_file()
    run, file = (vidi.evaluate(place / name, data=place / "leaves") for name in ("run", "leaves.onnx"))
    assert file.keys() == run.keys()
    for key, value in run.items():
        assert file[key] == (pytest.approx(value, rel=FLOAT32) if isinstance(value, float) else value)
    asked = command("eval", place / "leaves.onnx")
    assert asked.code == 2
    assert "knows no data set of its own; say which with --data" in asked.err


def test_an_exported_file_is_served_as_a_run_is(place: Path) -> None:
    photo = place / "photos" / "0.png"
    answers = []
    for path in (place / "run", place / "leaves.onnx"):
        with TestClient(make_app([Served("leaves", serving.load(str(path), None, False))])) as client:
            assert client.get("/models").json()["models"][0]["does"] == ["predict"]
            answers.append(client.post("/predict", files={"images": photo.read_bytes()}).json()["results"][0]["result"])
    one, other = answers
    assert one["name"] == other["name"]
    assert one["score"] == pytest.approx(other["score"], rel=FLOAT32)


def test_a_file_says_what_it_is_and_not_where_its_data_lie(place: Path) -> None:
    described = said_by(place / "leaves.onnx")
    assert described.config["model"] == "resnet18"
    assert described.config["task"] == "classification"
    assert tuple(described.config["arguments"]["categories"]) == ("green", "red")
    assert described.config["preprocess"]["exact"] == [32, 32]
    assert described.verdict == "verified"
    assert described.licence == "that of whoever trained it"
    assert set(described.versions) == {"vidi", "torch", "onnx", "onnxscript", "onnxruntime"}
    assert str(place).encode() not in (place / "leaves.onnx").read_bytes()


def test_a_file_that_differs_is_not_written_unless_asked(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidi.exported import writing

    def made_of_another(program: Any, *rest: Any, made: Any = writing._as_graph) -> Any:
        """Give the head of the traced network other weights."""
        for name, value in program.state_dict.items():
            if name.endswith("linear.weight"):
                program.state_dict[name] = torch.nn.Parameter(-value.detach())
        return made(program, *rest)

    monkeypatch.setattr(writing, "_as_graph", made_of_another)
    out = tmp_path / "other.onnx"
    with pytest.raises(DiffersError, match=r"is not written: it differs: results by .*; --anyway"):
        vidi.export(place / "run", out)
    assert not out.exists()
    done = command("export", place / "run", "--out", out)
    assert (done.code, out.exists()) == (3, False)
    made = vidi.export(place / "run", out, anyway=True)
    assert made.verdict.startswith("differs: results by")
    assert said_by(out).verdict == made.verdict


class Shrinks(nn.Module):
    """A network that sees smaller pictures, of a size that Python rounds: ONNX has no operator for that."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Logits:
        size = round(0.7 * images.shape[2]), round(0.7 * images.shape[3])
        return self.network(F.interpolate(images, size, mode="bilinear"))


def test_what_no_operator_says_of_any_size_is_written_for_the_model_s_own(place: Path, tmp_path: Path) -> None:
    model = vidi.load(place / "run")
    model.network = Shrinks(model.network)
    samples, config = list(model.samples([place / "photos" / "0.png"])), Run(place / "run").config()
    made = export_model(model, samples, tmp_path / "small.onnx", config=config, licence="none")
    assert made.verdict == "verified at 32 x 32 pixels"
    model.preprocess = replace(model.preprocess, exact=None, shorter=32)  # pictures of any size
    with pytest.raises(NoExportError, match=r"translating: DispatchError: No ONNX function found for .*round"):
        export_model(model, samples, tmp_path / "any.onnx", config=config, licence="none")


def test_an_algorithm_beside_the_network_is_named(tmp_path: Path) -> None:
    vidi.create("rcnn_tiny", **CATALOG["rcnn_tiny"].tiny).save(tmp_path / "run")
    with pytest.raises(NoExportError, match="selective search is an algorithm beside the network"):
        vidi.export(tmp_path / "run", tmp_path / "run.onnx")


def test_half_precision_is_half_as_large_and_near(place: Path, tmp_path: Path) -> None:
    made = vidi.export(place / "run", tmp_path / "half.onnx", half=True)
    assert made.verdict == "verified"
    assert 1e-6 < made.difference.results < 1e-2
    assert fingerprint(vidi.load(tmp_path / "half.onnx")) != fingerprint(vidi.load(place / "leaves.onnx"))
    whole = (place / "leaves.onnx").stat().st_size
    assert 0.4 < (tmp_path / "half.onnx").stat().st_size / whole < 0.6
    (result,) = vidi.load(tmp_path / "half.onnx").predict(place / "photos" / "0.png")
    assert result.probabilities.dtype == torch.float32


def test_eight_bits_are_a_third_as_large_and_tell_the_score(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    done = command("export", place / "run", "--out", out, "--int8", place / "leaves" / "red", "--json").json()
    assert done["file"] == str(out)
    assert done["bytes"] == out.stat().st_size < 0.4 * (place / "leaves.onnx").stat().st_size
    before, after = done["scores"]["top1"]
    assert before == vidi.evaluate(place / "run")["top1"]
    assert after == vidi.evaluate(out, data=place / "leaves")["top1"]
    one, other = (vidi.load(path).predict(place / "photos") for path in (place / "run", out))
    gap = max(float((a.probabilities - b.probabilities).abs().max()) for a, b in zip(one, other, strict=True))
    assert 1e-6 < gap < 0.2


def test_a_program_of_torch_runs_without_vidi(place: Path, tmp_path: Path) -> None:
    made = vidi.export(place / "run", tmp_path / "leaves.pt2", format="pt2")
    assert made.verdict == "verified"
    extra = {"vidi.json": ""}
    program = torch.export.load(tmp_path / "leaves.pt2", extra_files=extra).module()
    assert json.loads(extra["vidi.json"])["config"]["model"] == "resnet18"
    images = torch.rand(2, 3, 32, 32)
    (logits,) = program(images)
    assert_close(logits, vidi.load(place / "run")(images).logits, FLOAT32)
    with pytest.raises(ValueError, match="received int8 with format='pt2'"):
        vidi.export(place / "run", tmp_path / "x.pt2", format="pt2", int8=[place / "photos" / "0.png"])
    with pytest.raises(ValueError, match="received int8 with half=True"):
        vidi.export(place / "run", tmp_path / "x.onnx", half=True, int8=[place / "photos" / "0.png"])


# ----------------------------------------------------------------------------------------------------------------------
# Files of others


def saved(model: Any, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "link.bin"])
def test_data_outside_the_folder_is_not_read(own: Path, location: str) -> None:
    secret = own.parent.parent / f"{own.parent.name}-secret.bin"
    secret.write_bytes(bytes(4096))
    (own.parent / "link.bin").symlink_to(secret)
    model = onnx.load(own)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = tensor.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    saved(model, own)
    with pytest.raises(ValueError, match="asks for data outside its folder"):
        vidi.load(own)


def test_data_outside_the_folder_are_found_in_inner_graphs_too(own: Path) -> None:
    model = onnx.load(own)
    inner = onnx.helper.make_tensor("inner", onnx.TensorProto.FLOAT, [1], [1.0])
    inner.ClearField("float_data")
    inner.data_location = inner.EXTERNAL
    inner.external_data.add(key="location", value="../secret.bin")
    branch = onnx.helper.make_graph([], "branch", [], [], initializer=[inner])
    model.graph.node.append(onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))
    with pytest.raises(ValueError, match="asks for data outside its folder"):
        vidi.load(saved(model, own))


def test_data_beside_a_file_are_read_and_missed(own: Path, place: Path) -> None:
    model = onnx.load(own)
    onnx.save(model, own, save_as_external_data=True, location="weights.bin", size_threshold=4096)
    images = torch.rand(1, 3, 32, 32)
    assert_close(vidi.load(own)(images).logits, vidi.load(place / "leaves.onnx")(images).logits, FLOAT32)
    (own.parent / "weights.bin").unlink()
    with pytest.raises(ValueError, match=r"needs weights.bin beside it, which is not there"):
        vidi.load(own)


def test_files_of_others_are_told_apart(own: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist; expected an exported file"):
        vidi.load(tmp_path / "none.onnx")
    bare = onnx.load(own)
    del bare.metadata_props[:]
    with pytest.raises(ValueError, match="is not one of `vidi export`"):
        vidi.load(saved(bare, tmp_path / "bare.onnx"))
    other = onnx.load(own)
    (entry,) = [entry for entry in other.metadata_props if entry.key == KEY]
    told = json.loads(entry.value)
    entry.value = json.dumps({**told, "fields": [["boxes", None]]})
    with pytest.raises(ValueError, match="a Classifier of this version gives other outputs than boxes"):
        vidi.load(saved(other, tmp_path / "other.onnx"))
    entry.value = json.dumps({**told, "config": {}})
    with pytest.raises(ValueError, match="does not describe a model"):
        vidi.load(saved(other, tmp_path / "other.onnx"))
    (tmp_path / "text.onnx").write_text("not a graph at all")
    for path in (tmp_path / "text.onnx", cut_in_half(own)):
        with pytest.raises(ValueError, match="is no ONNX file, or it is cut"):
            vidi.load(path)
        done = command("predict", path, tmp_path)
        assert done.code == 3
        assert "is no ONNX file" in done.err


def test_without_the_runtime_a_sentence_says_what_to_install(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(NoRuntimeError, match=r"exported files need pip install 'vidi\[export\]'"):
        vidi.load(place / "leaves.onnx")


# ----------------------------------------------------------------------------------------------------------------------
# What is not exported, and the table


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("dcgan_tiny", "has no results for pictures"),
        ("viola_jones", "more than one network"),
        ("body_parts", "more than one network"),  # and takes no photo
        ("transformer", "it takes sentences, no pictures"),
    ],
)
def test_what_is_no_network_from_pictures_to_results_says_so(name: str, reason: str, tmp_path: Path) -> None:
    entry = CATALOG[name]
    entry.builder(**entry.tiny).save(tmp_path / "model")
    with pytest.raises(NoExportError, match=reason):
        vidi.export(tmp_path / "model", tmp_path / "x.onnx")


def test_names_of_files_say_their_format(place: Path, tmp_path: Path) -> None:
    done = command("export", place / "run", "--out", tmp_path / "x.torch")
    assert done.code == 2
    assert "expected a name that ends in .onnx or .pt2" in done.err


def test_the_table_of_verdicts_is_of_the_catalogue() -> None:
    known = verdicts()
    assert known.keys() == CATALOG.keys()  # `python -m benchmarks.exports` writes those that it lacks
    assert all(verdict.startswith(("verified", "no: ", "differs: ")) for verdict in known.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FIRST))
def test_the_verdict_of_each_family_is_still_true(name: str) -> None:
    """In a process without the type checks of the tests, for which a size that is traced is no number."""
    ask = f"from benchmarks import exports; print(exports.verdict_of({name!r}))"
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == verdicts()[name]
