"""Files into models as if they were published, made here from a small network: found, checked, renamed, refused."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.weights.publishing import NAME, TO_PUBLISHED, publish
from vidi import files
from vidi.backbones.resnet_cifar import resnet20
from vidi.model import Supervised
from vidi.weights import loading, table
from vidi.weights.loading import load_published, load_tensors
from vidi.weights.published import File, Published
from vidi.weights.reading import read_tensors
from vidi.weights.renaming import renamed
from vidi.weights.strict import load_strictly
from vidi.weights.tables.cifar_resnet import LAYOUT


@pytest.fixture
def donor() -> Supervised:
    """A model that was "published"."""
    return resnet20()


@pytest.fixture
def publisher(tmp_path: Path, donor: Supervised, monkeypatch: pytest.MonkeyPatch) -> Published:
    """The donor's weights as a file behind a url, in the table of published weights; the caches are empty."""
    return publish(donor, tmp_path, monkeypatch)


def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[key]) for key, value in one.state_dict().items())


def test_absent_file_says_where_to_get_it_and_where_to_put_it(publisher: Published, tmp_path: Path) -> None:
    model = resnet20()
    with pytest.raises(FileNotFoundError) as caught:
        load_published(model, NAME)
    assert publisher.files[0].url in str(caught.value)
    assert str(tmp_path / "weights" / "resnet20.th") in str(caught.value)
    assert f"(looked in {tmp_path / 'weights'}, {tmp_path / 'torch/hub/checkpoints'})" in str(caught.value)
    with pytest.raises(FileNotFoundError, match=re.escape(f"(looked in {tmp_path / 'mine'}); put file://")):
        load_published(model, NAME, folder=tmp_path / "mine")


def test_download_only_when_asked(publisher: Published, donor: Supervised, tmp_path: Path) -> None:
    model = resnet20()
    load_published(model, NAME, download=True)
    assert equal(model.network, donor.network)
    assert model.preprocess.exact == (40, 40)
    assert (tmp_path / "weights" / "resnet20.th").is_file()
    again = resnet20()
    load_published(again, NAME)  # found now
    assert equal(again.network, donor.network)


@pytest.mark.parametrize("place", ["weights", "torch/hub/checkpoints"])
def test_files_are_found_where_the_documentation_says(
    publisher: Published, donor: Supervised, tmp_path: Path, place: str
) -> None:
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / "web" / "resnet20.th").rename(tmp_path / place / "resnet20.th")
    model = resnet20()
    load_published(model, NAME)
    assert equal(model.network, donor.network)


def test_folder_by_argument(publisher: Published, donor: Supervised, tmp_path: Path) -> None:
    model = resnet20()
    load_published(model, NAME, folder=tmp_path / "web")
    assert equal(model.network, donor.network)
    with pytest.raises(FileNotFoundError):
        load_published(model, NAME, folder=tmp_path / "elsewhere")


def test_unreachable_url(publisher: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = File(publisher.files[0].url.replace("resnet20.th", "gone.th"), "00000000")
    monkeypatch.setitem(table.PUBLISHED, NAME, replace(publisher, files=(gone,)))
    with pytest.raises(ConnectionError, match=r"gone\.th"):
        load_published(resnet20(), NAME, download=True)


@pytest.mark.parametrize("download", [True, False])
def test_another_digest_is_refused(
    publisher: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, download: bool
) -> None:
    other = replace(publisher.files[0], sha256="00000000")
    monkeypatch.setitem(table.PUBLISHED, NAME, replace(publisher, files=(other,)))
    folder = tmp_path / ("empty" if download else "web")
    with pytest.raises(ValueError, match="00000000"):
        load_published(resnet20(), NAME, folder=folder, download=download)
    assert not (tmp_path / "empty" / "resnet20.th").exists()


class Payload:
    def __reduce__(self) -> tuple:
        return (print, ("code ran",))


def test_code_in_a_file_is_refused(
    publisher: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "web" / "resnet20.th"
    torch.save({"state_dict": Payload()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    file = replace(publisher.files[0], sha256=digest)
    monkeypatch.setitem(table.PUBLISHED, NAME, replace(publisher, files=(file,)))
    with pytest.raises(ValueError, match=r"resnet20\.th"):
        load_published(resnet20(), NAME, folder=path.parent)
    assert "code ran" not in capsys.readouterr().out


def test_part_keeps_the_new_head_and_the_size(publisher: Published, donor: Supervised, tmp_path: Path) -> None:
    model = resnet20(categories=3)
    model.preprocess = replace(model.preprocess, mean=(0.0, 0.0, 0.0))
    head = model.network.get_parameter("head.linear.weight").clone()
    load_published(model, NAME, part="backbone", folder=tmp_path / "web")
    assert equal(model.network.get_submodule("backbone"), donor.network.get_submodule("backbone"))
    assert torch.equal(model.network.get_parameter("head.linear.weight"), head)
    assert (model.preprocess.exact, model.preprocess.mean) == ((32, 32), publisher.preprocess.mean)


def test_a_network_without_the_part_is_refused(publisher: Published, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no neck of its own"):
        load_published(resnet20(), NAME, part="neck", folder=tmp_path / "web")


def test_what_does_not_fit_changes_nothing(publisher: Published, tmp_path: Path) -> None:
    model = resnet20(categories=3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"head\.linear\.weight has shape \(10, 64\), expected \(3, 64\)"):
        load_published(model, NAME, folder=tmp_path / "web")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_missing_and_unexpected_tensors_are_named() -> None:
    network = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="1 missing: bias; 1 unexpected: scale"):
        load_strictly(network, {"weight": torch.zeros(2, 2), "scale": torch.zeros(2)})


def test_only_the_counters_of_norms_may_be_missing() -> None:
    network = torch.nn.BatchNorm2d(3)
    state = {key: value + 1 for key, value in network.state_dict().items() if key != "num_batches_tracked"}
    load_strictly(torch.nn.Sequential(network), {f"0.{key}": value for key, value in state.items()})
    assert all(torch.equal(network.state_dict()[key], value) for key, value in state.items())


def test_new_head_keeps_the_last_layer_and_takes_the_preprocessing(
    publisher: Published, donor: Supervised, tmp_path: Path
) -> None:
    model = resnet20(categories=3)
    model.preprocess = replace(model.preprocess, mean=(0.0, 0.0, 0.0))
    head = model.network.get_parameter("head.linear.weight").clone()
    load_published(model, NAME, new_head=True, folder=tmp_path / "web")
    assert equal(model.network.get_submodule("backbone"), donor.network.get_submodule("backbone"))
    assert torch.equal(model.network.get_parameter("head.linear.weight"), head)
    assert model.preprocess == publisher.preprocess


def test_own_size_takes_only_what_pixels_mean(publisher: Published, tmp_path: Path, monkeypatch) -> None:
    theirs = replace(publisher.preprocess, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), interpolation="bicubic")
    monkeypatch.setitem(table.PUBLISHED, NAME, replace(publisher, preprocess=theirs))
    model = resnet20(size=(24, 24))
    load_published(model, NAME, own_size=True, folder=tmp_path / "web")
    assert model.preprocess == replace(theirs, exact=(24, 24))


def test_a_package_may_ship_the_file(publisher: Published, donor: Supervised, tmp_path: Path, monkeypatch) -> None:
    package = tmp_path / "site" / "shipped_weights"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    (tmp_path / "web" / "resnet20.th").rename(package / "models" / "resnet20.th")
    file = replace(publisher.files[0], package="shipped_weights")
    monkeypatch.setitem(table.PUBLISHED, NAME, replace(publisher, files=(file,)))
    looked = r"checkpoints, the package shipped-weights\); put .* or install the package shipped-weights"
    with pytest.raises(FileNotFoundError, match=looked):
        load_published(resnet20(), NAME)
    monkeypatch.syspath_prepend(package.parent)
    model = resnet20()
    load_published(model, NAME)
    assert equal(model.network, donor.network)


def test_what_is_known_of_weights(publisher: Published, tmp_path: Path) -> None:
    row = {"name": "resnet20", "weights": "akamaster/cifar10", "score": {"top1": 91.73}, "licence": "BSD-2-Clause"}
    row |= {"url": publisher.files[0].url, "sha256": publisher.files[0].sha256}
    assert loading.describe_weights("resnet20") == [{**row, "path": None}]
    (tmp_path / "web").rename(tmp_path / "weights")
    assert loading.describe_weights("resnet20") == [{**row, "path": str(tmp_path / "weights" / "resnet20.th")}]


def test_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(ValueError, match="resnet50/torchvision/imagenet1k_v2"):
        load_published(resnet20(), "resnet50/torchvision/imagenet_v2")


def test_conversion_follows_the_renaming(donor: Supervised) -> None:
    """As detectors need it whose background moves from the first class to the last."""

    def reversed_classes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return tensors | {key: tensors[key].flip(0) for key in ("head.linear.weight", "head.linear.bias")}

    layout = replace(LAYOUT, convert=reversed_classes)
    model = resnet20()
    load_tensors(model, renamed(donor.network.state_dict(), TO_PUBLISHED), layout)
    bias = donor.network.get_parameter("head.linear.bias")
    assert torch.equal(model.network.get_parameter("head.linear.bias"), bias.flip(0))


@pytest.fixture
def shards(publisher: Published, tmp_path: Path) -> list[dict[str, torch.Tensor]]:
    """The published tensors in two halves."""
    tensors = list(read_tensors(tmp_path / "web" / "resnet20.th").items())
    return [dict(tensors[: len(tensors) // 2]), dict(tensors[len(tensors) // 2 :])]


def share(shards: list[dict[str, torch.Tensor]], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write each into a file of its own, and publish those instead of the whole."""
    paths = [folder / f"part{number}.safetensors" for number in range(len(shards))]
    for path, tensors in zip(paths, shards, strict=True):
        files.write_tensors(path, tensors)
    parts = tuple(File(path.as_uri(), hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths)
    monkeypatch.setitem(table.PUBLISHED, NAME, replace(table.PUBLISHED[NAME], files=parts))


def test_weights_in_two_files_are_those_of_one(
    shards: list[dict[str, torch.Tensor]], donor: Supervised, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(shards, tmp_path / "web", monkeypatch)
    model = resnet20()
    load_published(model, NAME, download=True)
    assert equal(model.network, donor.network)
    rows = loading.describe_weights("resnet20")
    assert [Path(row["path"]).name for row in rows] == ["part0.safetensors", "part1.safetensors"]
    (tmp_path / "weights" / "part1.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"part1\.safetensors: no such file"):
        load_published(model, NAME)


def test_a_tensor_in_two_files_is_refused(
    shards: list[dict[str, torch.Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share([shards[0], shards[1] | {"conv1.weight": shards[0]["conv1.weight"]}], tmp_path / "web", monkeypatch)
    model = resnet20()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"part1\.safetensors holds 1 tensors that another file holds too: conv1\.w"):
        load_published(model, NAME, folder=tmp_path / "web")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
